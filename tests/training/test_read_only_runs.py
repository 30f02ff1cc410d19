"""A run directory that may not be written: said in a sentence, before any step, and left as it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = """
import io, json, os, sys
from contextlib import redirect_stderr
from pathlib import Path
from twinplate.cli import main
from twinplate.training.run_directory import begun, load_run

def told(*words):
    sys.argv, said = ["twinplate", "fit", "x.npy", *words], io.StringIO()
    with redirect_stderr(said):
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = ended.code
    return code, said.getvalue()

def contents():
    return {str(p): p.read_bytes().hex() for p in sorted(Path().rglob("*")) if p.is_file()}

SMALL = ["--components", "2", "--steps", "4", "--backend", "pyro", "--device", "cpu", "--out"]

def refused():
    for place in ("finished", "kept"):
        os.chmod(place, 0o555)
    os.chmod(".", 0o555)
    if os.getuid() == 0:
        for place in Path().rglob("*"):
            if place.is_file() and Path.cwd().name == "files of its own":
                os.chown(place, 65534, 65534)
        os.setgroups([]), os.setgid(65534), os.setuid(65534)
    before = contents()
    found = [told("--resume", run, "--steps", "8") for run in ("finished", "kept")]
    found.append(told(*SMALL, "another"))
    return found, contents() == before, load_run("kept").step

for folder in sys.argv[1:]:
    os.chdir(folder)
    told(*SMALL, "finished")  # and everything is imported: another user may not be able to
    with begun(Path("kept"), load_run("finished")):
        pass  # as a killed process leaves it: a checkpoint
    if not os.fork():
        print(json.dumps(refused()), flush=True)
        os._exit(0)
    os.wait()
    os.chdir("..")
"""
WHOSE = ("files of its own", "files of another")


@pytest.fixture(scope="module")
def refused(tmp_path_factory):
    """What is found of each, by one process and its forks: whose files -> (what is told, untouched, step)."""
    path = tmp_path_factory.mktemp("runs")
    for place in (path, *path.parents[:2]):  # pytest's folders are for their owner alone
        os.chmod(place, 0o755)
    for folder in WHOSE:
        (path / folder).mkdir()
        np.save(path / folder / "x.npy", np.random.default_rng(0).normal(size=(30, 4)))
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *WHOSE], cwd=path, env=env, capture_output=True, text=True
    )
    for folder in WHOSE:
        for place in (path / folder, path / folder / "finished", path / folder / "kept"):
            os.chmod(place, 0o755)
    assert done.returncode == 0, done.stderr
    found = [line for line in done.stdout.splitlines() if line.startswith("[")]
    return dict(zip(WHOSE, map(json.loads, found), strict=True))


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="no other user to be")
@pytest.mark.xdist_group("read-only runs")
@pytest.mark.parametrize("whose", WHOSE)
def test_a_read_only_run_is_refused_and_left_alone(refused, whose):
    found, untouched, step = refused[whose]
    for (code, said), name in zip(found, ("finished", "kept", "another"), strict=True):
        assert code == 2 and name in said and "no permission to write" in said
        assert "Traceback" not in said
    assert untouched and step == 4
