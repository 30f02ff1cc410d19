"""CompiledSVI over several devices, in a process where JAX makes four of the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
from several_devices import run_tests

FILE = Path(__file__).with_name("four_devices_svi.py")


def test_on_four_devices():
    run_tests(FILE, "not slow", devices=4)


@pytest.mark.slow
def test_more_programs_on_four_devices():
    run_tests(FILE, "slow", devices=4)
