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

whose = sys.argv[1]

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
told(*SMALL, "finished")  # and everything is imported: another user may not be able to
with begun(Path("kept"), load_run("finished")):
    pass  # as a killed process leaves it: a checkpoint
for place in ("finished", "kept"):
    os.chmod(place, 0o555)
os.chmod(".", 0o555)
if os.getuid() == 0:
    for place in Path().rglob("*"):
        if place.is_file() and whose == "files of its own":
            os.chown(place, 65534, 65534)
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
before = contents()
found = [told("--resume", run, "--steps", "8") for run in ("finished", "kept")]
found.append(told(*SMALL, "another"))
print(json.dumps([found, contents() == before, load_run("kept").step]))
"""


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="no other user to be")
@pytest.mark.parametrize("whose", ["files of its own", "files of another"])
def test_a_read_only_run_is_refused_and_left_alone(tmp_path, whose):
    for place in (tmp_path, *tmp_path.parents[:2]):  # pytest's folders are for their owner alone
        os.chmod(place, 0o755)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(30, 4)))
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, whose], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    for place in (tmp_path, tmp_path / "finished", tmp_path / "kept"):
        os.chmod(place, 0o755)
    assert done.returncode == 0, done.stderr
    found, untouched, step = json.loads(done.stdout.splitlines()[-1])
    for (code, said), name in zip(found, ("finished", "kept", "another"), strict=True):
        assert code == 2 and name in said and "no permission to write" in said
        assert "Traceback" not in said
    assert untouched and step == 4
