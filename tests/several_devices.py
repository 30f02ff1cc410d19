"""Tests where JAX has several devices: by an interpreter of their own, as it is told before it starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def run_tests(file: Path, mark: str, devices: int) -> None:
    """The tests of `file` with that mark, where JAX makes so many devices of the CPU."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", mark, file]
    done = subprocess.run(
        command,
        cwd=Path(__file__).parents[1],
        env={**os.environ, "JAX_NUM_CPU_DEVICES": str(devices)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout + done.stderr
