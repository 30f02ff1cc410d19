"""`twinplate fit` killed by the system at random moments until it is done: to the bit as if it never was."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from twinplate.training.run_directory import read_newest

FILES = ("params.safetensors", "optimizer.safetensors", "losses.npy")
FIT = [sys.executable, "-m", "twinplate", "fit", "x.npy"]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["pyro", "numpyro"])
def test_kill_9_of_a_fit_until_it_is_done(tmp_path, monkeypatch, backend):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.random.default_rng(0).normal(size=(300, 6)).cumsum(axis=1))
    words = ["--components", "2", "--steps", "4000", "--backend", backend, "--device", "cpu"]
    often = ["--checkpoint-every", "0"]
    subprocess.run([*FIT, *words, "--out", "whole"], check=True, capture_output=True)
    clock, killed = random.Random(2), 0
    while True:
        begun = Path("run").exists()
        given = ["--resume", "run"] if begun else [*words, "--out", "run"]
        with subprocess.Popen([*FIT, *given, *often], stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            if killed < 4:
                for line in process.stderr:  # the first one of progress: training starts
                    if "step" in line:
                        break
                try:
                    process.wait(timeout=clock.uniform(0, 2))
                except subprocess.TimeoutExpired:
                    process.kill()
                    killed += 1
            rest = process.stderr.read()
        if process.returncode == 0:
            break
        assert process.returncode == -9, rest
    assert killed
    run = read_newest(Path("run")).run
    assert run.is_finished and len(run.losses) == 4000
    for name in FILES:
        assert Path("run", name).read_bytes() == Path("whole", name).read_bytes(), name
