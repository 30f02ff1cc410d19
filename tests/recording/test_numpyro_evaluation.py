"""NumPyro's `evaluate` compiles a program once, and takes any numbers afterwards."""

from __future__ import annotations

import numpy as np

from twinplate import TrainingConfig


def test_a_program_is_compiled_once_whatever_its_numbers(problem, monkeypatch):
    from numpyro_impl.recording import evaluation

    made, make_loss = [], evaluation.make_loss
    monkeypatch.setattr(evaluation, "make_loss", lambda *given: made.append(1) or make_loss(*given))
    x, program, params = problem()
    moved = {name: 1.1 * values for name, values in params.items()}
    training = TrainingConfig(precision="float64", device="cpu")
    for numbers in ((x, params), (x + 1, params)):
        evaluation.evaluate(numbers[0], program, numbers[1], {}, training)
    again = evaluation.evaluate(x, program, moved, {}, training)
    assert len(made) == 1
    monkeypatch.setattr(evaluation, "_compiled", evaluation._compiled.__wrapped__)
    alone = evaluation.evaluate(x, program, moved, {}, training)
    assert len(made) == 2
    assert again.loss == alone.loss
    for name, gradient in alone.gradient.items():
        np.testing.assert_array_equal(again.gradient[name], gradient)
