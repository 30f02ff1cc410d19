"""Small programs, data and configurations for `fit`, and when two fits are the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from twinplate import LinearGaussian, ProgramConfig, TrainingConfig, make_program

N = 12
ALL = ("loadings", "intercept", "noise_scale")
PROGRAMS = {
    "diagonal": {"guide": "diagonal"},
    "event full": {"guide": "event"},
    "auxiliary low-rank": {"guide": "auxiliary", "covariance": "low-rank"},
    "learned, amplitude": {"guide": "auxiliary", "learned": ALL, "amplitude_scale": 0.3},
    "experts": {"guide": "event", "encoder": "experts"},
}


def config(**changes):
    """Small, in double precision, on the CPU."""
    return TrainingConfig(
        **{"steps": 5, "batch_size": 5, "precision": "float64", "device": "cpu", **changes}
    )


def assert_same_fit(first, second):
    np.testing.assert_array_equal(first.losses, second.losses)
    assert first.state.step == second.state.step
    for part in ("params", "mean", "variance", "average"):
        left, right = getattr(first.state, part), getattr(second.state, part)
        assert left.keys() == right.keys() and left
        for name in left:
            np.testing.assert_array_equal(left[name], right[name], err_msg=f"{part} {name}")


def linear_gaussian(num_items=256, **changes):
    """The guide starts near the standard normal, as the program knows no width: it has to learn."""
    rng = np.random.default_rng(1)
    generative = LinearGaussian(rng.normal(size=(4, 2)), rng.normal(size=4), 0.7, 0.5, 1.3)
    x, _ = generative.simulate(num_items, rng)
    program = make_program(x, ProgramConfig(4, 2, hidden_width=16, **changes), generative)
    return x, replace(program, width=None)
