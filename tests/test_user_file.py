"""A user's file is run as Python would run it, and frameworks that it imports cost no search for garbage."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys

import pytest

from twinplate.user_file import run_file

RUN = """
import gc, json, pathlib, sys
from twinplate.user_file import run_file
before = gc.get_threshold()
module = run_file(pathlib.Path(sys.argv[1]))
gc.collect()
print(json.dumps({
    "old": gc.get_stats()[2]["collections"] - 1,
    "frozen": gc.get_freeze_count(),
    "enabled": gc.isenabled(),
    "restored": gc.get_threshold() == before,
    "kept": sum(ref() is not None for ref in getattr(module, "refs", ())),
}))
"""


def left_by(text, tmp_path):
    """What a new process finds after the file was run."""
    path = tmp_path / "own.py"
    path.write_text(text)
    command = [sys.executable, "-c", RUN, str(path)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_what_frameworks_make_is_not_looked_through_again(framework, tmp_path):
    found = left_by(f"import {framework}\n", tmp_path)
    assert found["frozen"] > 50_000
    assert found["enabled"]
    assert found["restored"]
    assert found["old"] == 0


def test_garbage_of_the_file_goes(tmp_path):
    text = """
import weakref
import torch
class Node: pass
refs = []
for _ in range(60):
    node = Node()
    node.itself = node
    refs.append(weakref.ref(node))
del node
"""
    assert left_by(text, tmp_path)["kept"] == 0


@pytest.mark.parametrize("line", ["gc.disable()", "gc.set_threshold(7, 7, 7)"])
def test_what_the_file_says_of_the_collector_stays(line, tmp_path):
    found = left_by(f"import gc, torch\n{line}\n", tmp_path)
    assert found["enabled" if "disable" in line else "restored"] is False


def test_nothing_is_frozen_for_a_file_without_a_framework(tmp_path):
    path = tmp_path / "own.py"
    path.write_text("import numpy\n")
    frozen, threshold = gc.get_freeze_count(), gc.get_threshold()
    run_file(path)
    assert (gc.get_freeze_count(), gc.get_threshold()) == (frozen, threshold)


def test_the_file_is_run_as_it_stands(tmp_path, monkeypatch):
    """Whatever was compiled of one that was as large and as old."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = tmp_path / "own.py"
    for value in (5, 6):
        path.write_text(f"value = {value}\n")
        os.utime(path, (1, 1))
        assert run_file(path).value == value
    assert [p.name for p in tmp_path.iterdir()] == ["own.py"]
