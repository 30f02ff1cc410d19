"""How many devices there may be, before any of them is asked for anything."""

from __future__ import annotations

import os

import pytest

from twinplate import InputError
from twinplate.commands.devices import check_count
from twinplate.commands.workers import tell_of_turns


def test_each_device_gets_an_item_of_a_mini_batch():
    for right in (None, 1, 4):
        check_count(right, batch_size=4)
    with pytest.raises(InputError, match="--devices is 0; expected 1 or more"):
        check_count(0, batch_size=4)
    with pytest.raises(
        InputError, match="--devices is 5, and a mini-batch has 4 items; expected no more"
    ):
        check_count(5, batch_size=4)


def test_more_devices_than_cores_are_told(monkeypatch, capsys):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1}, raising=False)
    tell_of_turns(2)
    assert capsys.readouterr().err == ""
    tell_of_turns(3)
    assert "3 devices share 2 cores: they take turns" in capsys.readouterr().err
