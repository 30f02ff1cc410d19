"""Fits over several devices, in a process where JAX makes four of the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def on_four_devices(*words: str) -> None:
    """The tests of `four_devices.py`, by an interpreter of their own."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words]
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "4"}
    done = subprocess.run(
        [*command, HERE / "four_devices.py"],
        cwd=HERE.parents[1],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout + done.stderr


def test_on_four_devices():
    on_four_devices("-m", "not slow")


@pytest.mark.slow
def test_every_way_to_fit_on_four_devices():
    on_four_devices("-m", "slow")
