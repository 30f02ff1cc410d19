"""Runs that change the framework: begun in one, gone on with in the other and back, as if none had moved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from equivalence_tests.reference.agreement import relative_error
from equivalence_tests.reference.cases import TWINS, ReferenceCase
from equivalence_tests.reference.test_training import data, far, matched_config
from twinplate.commands.training_run import extended
from twinplate.training.plan import CHUNK
from twinplate.training.run_directory import begun, read_newest
from twinplate.training.run_format import SavedRun
from twinplate.training.state import Fit

CASES = [
    ReferenceCase("auxiliary", "full", "missing", learned=True),
    ReferenceCase("event", "low-rank", "full-data"),
]


@pytest.mark.parametrize("first", sorted(TWINS))
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_losses_go_on_in_the_other_framework(
    tmp_path: Path, case: ReferenceCase, first: str
) -> None:
    """100 steps in one, 200 in the other, 100 in the first again: by way of the disk, moments and all."""
    x, program, config = data(case), far(case), matched_config(steps=4 * CHUNK)
    x[3] *= 20  # whose gradient is cut, where the model learns
    whole = TWINS[first].fit(x, program, config, matched=True)
    (second,) = {*TWINS} - {first}
    groups = [TWINS[first].Trainer(x, program, config).state.params] * 4
    told = {"program": program.config.as_dict(), "training": config.as_dict()}
    start = SavedRun(told, {}, {}, *groups, program.fixed, np.zeros(0), 0)
    zero = {name: np.zeros_like(values) for name, values in start.mean.items()}
    path = tmp_path / "run"
    with begun(path, replace(start, mean=zero, variance=zero)) as writer:
        for twin in (first, second, second, first):
            run = read_newest(path).run
            trainer = TWINS[twin].Trainer(
                x, run.program, run.training, state=run.state, matched=True
            )
            losses = trainer.run(next(trainer.plan()))
            writer.checkpoint(extended(run, Fit(trainer.state, losses, notes=trainer.notes)))
    found = read_newest(path).run
    assert found.is_finished
    assert any("was cut" in note for note in found.notes) is case.learned
    assert relative_error(found.losses, whole.losses) <= 1e-9
    for name in ("params", "mean", "variance", "average"):
        for parameter, values in getattr(whole.state, name).items():
            apart = np.abs(getattr(found.state, name)[parameter] - values).max()
            assert apart <= 1e-9 * max(1.0, np.abs(values).max()), (name, parameter)
