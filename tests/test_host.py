"""The memory of this machine and of a process."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from twinplate.host import host_memory, peak_memory


def test_the_memory_is_that_of_the_machine_or_of_its_container(tmp_path, monkeypatch):
    machine = host_memory()
    assert 2**28 < machine < 2**50
    group = tmp_path / "memory.max"
    monkeypatch.setattr("twinplate.host.GROUPS", (str(tmp_path / "none"), str(group)))
    group.write_text("max\n")
    assert host_memory() >= machine
    group.write_text("1000000\n")
    assert host_memory() == 1_000_000


def test_the_peak_is_the_process_s_own(monkeypatch):
    """Not that of the larger process which started it."""
    held = np.ones(2**23)  # 64 MB, resident
    code = "from twinplate.host import peak_memory; print(peak_memory())"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    own = peak_memory()
    assert own > held.nbytes > int(child.stdout) > 2**22
    monkeypatch.setattr("twinplate.host.STATUS", "/none")
    assert peak_memory() == pytest.approx(own, rel=0.02)
