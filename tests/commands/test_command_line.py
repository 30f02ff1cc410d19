"""The command as it is installed: its version, its help, and what a shell completes."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from verify_files import twinplate as run

import twinplate


def test_the_version_is_told_by_the_command_and_the_module() -> None:
    assert twinplate.__version__ == metadata.version("twinplate")
    # A process of its own: in this one pytest's import hook may stand before the module.
    for command in (
        [sys.executable, "-m", "twinplate"],
        [Path(sys.executable).with_name("twinplate")],
    ):
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
        assert done.stdout == f"twinplate {twinplate.__version__}\n"


def test_the_installed_command_says_what_it_can_do() -> None:
    command = Path(sys.executable).with_name("twinplate")
    done = subprocess.run([command, "--help"], capture_output=True, text=True, check=True)
    assert all(word in done.stdout for word in ("demo", "fit", "posterior"))


def test_the_shell_completes_commands(capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.setenv("_TWINPLATE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "twinplate s")
    monkeypatch.setenv("COMP_CWORD", "1")
    run()
    assert capsys.readouterr().out.split() == ["score", "summary"]
