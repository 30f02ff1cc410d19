"""Small data and programs of every kind, and the message of a refusal."""

import itertools

import numpy as np
import pytest

from twinplate.errors import InputError
from twinplate.programs.config import ProgramConfig
from twinplate.programs.program import ReferenceProgram, make_program

NAN = float("nan")
LEARNED = ("loadings", "intercept", "noise_scale")
SUBSETS = [s for n in range(4) for s in itertools.combinations(LEARNED, n)]
GUIDES = [("diagonal", "diagonal")] + [
    (guide, covariance)
    for guide in ("event", "auxiliary")
    for covariance in ("full", "diagonal", "low-rank")
]


def make_data(num_items=30, num_features=5, missing=0.0, seed=0) -> np.ndarray:
    """Correlated features in units that differ by orders of magnitude."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(num_items, 3)) @ rng.normal(size=(3, num_features))
    x = (x + 0.4 * rng.normal(size=x.shape)) * 10.0 ** np.arange(-2, num_features - 2)
    x[rng.random(x.shape) < missing] = NAN
    return x + np.arange(num_features)


def make(**config) -> ReferenceProgram:
    sizes = {"num_features": 5, "num_components": 3, "hidden_width": 4}
    return make_program(make_data(), ProgramConfig(**{**sizes, "learned": (), **config}))


def refusal(function, *args) -> str:
    with pytest.raises(InputError) as caught:
        function(*args)
    return str(caught.value)
