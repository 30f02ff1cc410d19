"""Programs that the docs and the examples show, but for README's: right however many particles they have."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import jax
import numpy as np
import numpyro
import pyro
import pytest
import torch
from pyro.infer.autoguide import AutoMultivariateNormal

import pyro_impl

ROOT = Path(__file__).parents[2]
X = np.random.default_rng(0).normal(size=(100, 3))
Y = X @ np.array([1.0, -2.0, 0.5])
ITEMS = np.arange(7)  # of the example's 1,200


def compiled_page(framework):
    """The model of the block of docs/compiled.md that imports it, without the training that follows."""
    text = (ROOT / "docs" / "compiled.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.S | re.M)
    code = next(code for code in blocks if f"import {framework}\n" in code)
    names = {}
    exec(code.partition("svi = ")[0], names)
    return names["model"]


def example(name, *programs):
    shown = runpy.run_path(str(ROOT / "examples" / name))
    return tuple(shown[program] for program in programs)


def compiled_in_pyro():
    model = compiled_page("pyro")
    return model, AutoMultivariateNormal(model)


# What is shown -> how its model and guide are made, and their arguments.
SHOWN = {
    "compiled.md": (compiled_in_pyro, (X, Y)),
    "verify_port.py": (lambda: example("verify_port.py", "pyro_model", "pyro_guide"), (X, Y)),
    "plates_pyro.py": (lambda: example("plates_pyro.py", "model", "guide"), (ITEMS, 1.0)),
    "swapped plates": (
        lambda: example("plates_pyro.py", "swapped_model", "swapped_guide"),
        (ITEMS, 1.0),
    ),
}


@pytest.mark.parametrize("name", SHOWN)
def test_vectorised_particles_have_the_loss_of_one_after_the_other(name):
    """Of the same draws; each of those is a loss of one particle."""
    make, args = SHOWN[name]
    program = pyro_impl.Program.build(make)
    losses = [
        program.record(args, particles=3, vectorize_particles=v, seeds=(0,), stress=False)
        .runs["0", "float64"]
        .loss
        for v in (False, True)
    ]
    assert losses[0].shape == (3,) and losses[1].shape == (1,)
    np.testing.assert_allclose(losses[1][0], losses[0].mean(), rtol=1e-12)


@pytest.mark.parametrize("parallel", [False, True])
def test_predictions_are_near_what_their_own_weights_say(parallel):
    """In Pyro in parallel without the guide, whose event dims its Predictive would take for batch dims."""
    x = torch.tensor(X).float()
    model, guide = compiled_in_pyro()
    with pyro.get_param_store().scope():
        guide(x, torch.tensor(Y).float())  # which makes its parameters
        predictive = pyro.infer.Predictive(
            model,
            guide=None if parallel else guide,
            num_samples=9,
            parallel=parallel,
            return_sites=("weights", "y"),
        )
        in_pyro = predictive(x, None)
    predictive = numpyro.infer.Predictive(
        compiled_page("numpyro"), num_samples=9, parallel=parallel
    )
    for draws in (in_pyro, predictive(jax.random.key(0), X, None)):
        weights, y = np.asarray(draws["weights"]).reshape(9, 3), np.asarray(draws["y"])
        assert y.shape == (9, 100)
        assert abs((y - weights @ X.T).std() - 0.1) < 0.02  # the noise's standard deviation
