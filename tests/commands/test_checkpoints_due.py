"""When a checkpoint is due: before more than the given time could be lost, by the clock alone."""

from __future__ import annotations

import numpy as np
import pytest

from twinplate.commands import checkpoints
from twinplate.commands.checkpoints import Checkpoints
from twinplate.errors import InputError
from twinplate.training.state import Fit, TrainingState


@pytest.fixture
def clock(monkeypatch):
    """`clock[0]` is the time in seconds."""
    now = [0.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    return now


def fit() -> Fit:
    return Fit(TrainingState.start({}), np.zeros(0))


@pytest.mark.parametrize(
    ("every", "chunks", "kept"),
    [
        (30, [4] * 20, [28, 56]),  # after 28 s a further chunk would end at 32
        (30, [10] * 7, [20, 40, 60]),
        (30, [40, 40, 1, 1], [40, 80]),  # a chunk may take longer than that
        (0, [1, 1, 1], [1, 2, 3]),
    ],
)
def test_no_more_than_the_interval_can_be_lost(clock, every, chunks, kept):
    found = []
    due = Checkpoints(every, lambda _: found.append(clock[0]), print)
    for seconds in chunks:
        clock[0] += seconds
        due(fit)
    assert found == kept


def test_what_cannot_be_kept_is_told_and_tried_again(clock):
    told = []

    def refused(_):
        raise InputError("step 3 cannot be kept in run: No space left on device")

    due = Checkpoints(30, refused, told.append)
    for _ in range(4):
        clock[0] += 20
        due(fit)
    assert len(told) == 4
    assert told[0].startswith("Training goes on, but step 3 cannot be kept in run: No space")
