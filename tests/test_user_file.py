"""A user's file is run as Python would run it, and frameworks that it imports cost no search for garbage."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from twinplate.user_file import run_file

RUN = """
import gc, pathlib, sys
from twinplate.user_file import run_file
module = run_file(pathlib.Path(sys.argv[1]))
print(module.seen, gc.isenabled(), gc.get_freeze_count())
"""


@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_what_frameworks_make_is_not_looked_through_again(framework, tmp_path):
    path = tmp_path / "own.py"
    path.write_text(f"import gc\nimport {framework}\nseen = gc.isenabled()\n")
    command = [sys.executable, "-c", RUN, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    within, afterwards, frozen = done.stdout.split()
    assert (within, afterwards) == ("False", "True")
    assert int(frozen) > 50_000


@pytest.mark.parametrize("is_enabled", [True, False])
def test_the_collector_is_left_as_it_was(is_enabled, tmp_path):
    """Nothing is frozen for a file without a framework, or whose framework is there already."""
    path = tmp_path / "own.py"
    path.write_text("import numpy\n")
    frozen = gc.get_freeze_count()
    (gc.enable if is_enabled else gc.disable)()
    try:
        run_file(path)
        assert gc.isenabled() == is_enabled
    finally:
        gc.enable()
    assert gc.get_freeze_count() == frozen
