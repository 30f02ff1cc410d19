"""Programs that need values of their arguments; arguments that JAX does not hold; runs inside of jit."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from jax import random
from numpyro.infer import SVI, Trace_ELBO
from numpyro_cases import data
from numpyro_runs import adam, assert_same

from numpyro_impl import CompiledSVI
from twinplate import InputError

pytestmark = pytest.mark.usefixtures("x64", "short_chunks")

SCALES = {
    "if": (lambda x, y: 1.0 if y.sum() > 0 else 2.0, r"decides by a value \(if"),
    "mask": (lambda x, y: jnp.abs(y[y > 0]).mean() + 1, "selects by a mask"),
    "float": (lambda x, y: float(jnp.abs(y).max()) + 1, "takes a value for a number"),
    "numpy": (lambda x, y: len(np.unique(np.sign(y))) + 1.0, "gives a value to NumPy"),
    "range": (lambda x, y: 1.0 + sum(range(jnp.argmax(y))), "takes a value for a size"),
    "shape": (lambda x, y: jnp.ones(jnp.argmax(y) + 1).mean(), "takes a value for a shape"),
}


def program(scale):
    """(model, guide), in which `scale` makes the scale of the observations of the arguments."""

    def model(*given):
        loc = numpyro.sample("loc", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(loc, scale(*given)), obs=data()[1])

    def guide(*given):
        numpyro.sample("loc", dist.Normal(numpyro.param("mean", 0.0), 0.1))

    return model, guide


def run(kind, scale, *given, steps=10):
    svi = kind(*program(scale), adam(), Trace_ELBO())
    return svi, svi.run(random.key(0), steps, *given, progress_bar=False)


# With arrays of NumPy and its functions; jax.numpy has no values of them within the steps.
OF_NUMPY = {
    "if": lambda x, y: 1.0 if y.sum() > 0 else 2.0,
    "mask": lambda x, y: jnp.abs(y[y > 0]).mean() + 1,
    "float": lambda x, y: float(np.abs(y).max()) + 1,
    "numpy": lambda x, y: len(np.unique(np.sign(y))) + 1.0,
    "range": lambda x, y: 1.0 + sum(range(np.argmax(y))),
    "shape": lambda x, y: jnp.ones(np.argmax(y) + 1).mean(),
}


# What JAX says of the others is told apart below, of mini-batches.
FAST = ("if", "numpy")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in OF_NUMPY]
)
def test_a_program_that_needs_values_of_its_arguments_gets_them(name):
    """As NumPyro gives them; other ones of the same shape are seen."""
    scale = OF_NUMPY[name]
    for sign in (1, -1):
        given = np.asarray(data()[0]), sign * np.asarray(data()[1])
        svi, found = run(CompiledSVI, scale, *given)
        assert_same(found, run(SVI, scale, *given)[1])
        many = svi.run_many(random.split(random.key(0), 2), 10, *given)
        alone = SVI(*program(scale), adam(), Trace_ELBO())
        single = alone.run(random.split(random.key(0), 2)[1], 10, *given, progress_bar=False)
        np.testing.assert_allclose(many.losses[1], single.losses, rtol=1e-9)


@pytest.mark.parametrize("name", SCALES)
def test_of_mini_batches_it_has_none_and_its_line_is_named(name):
    scale, told = SCALES[name]
    svi = CompiledSVI(*program(scale), adam(), Trace_ELBO())
    with pytest.raises(InputError, match=told) as caught:
        svi.run_batches(random.key(0), [data()], progress_bar=False)
    message = str(caught.value)
    assert f"{__file__}:" in message
    assert f'"{name}": (lambda' in message and "CompiledSVI(..., name=value)" in message
    assert isinstance(caught.value.__cause__, TypeError | IndexError)


def test_a_value_that_is_drawn_is_told_of_in_a_run_too():
    def model():
        loc = numpyro.sample("loc", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(loc, 1.0 if loc > 0 else 2.0), obs=data()[1])

    svi = CompiledSVI(model, program(None)[1], adam(), Trace_ELBO())
    with pytest.raises(InputError, match=r"decides by a value \(if.* by NumPy of its arguments"):
        svi.run(random.key(0), 3, progress_bar=False)


@dataclass
class Table:
    scales: np.ndarray
    kind: str = "wide"


@pytest.mark.parametrize(
    ("given", "scale"),
    [
        ({1.0, 2.0}, max),
        (Table(np.full(3, 2.0)), lambda table: table.scales.mean()),
        pytest.param(
            *(np.array(["a", "b", "a"]), lambda names: 1.0 * len(np.unique(names))),
            marks=pytest.mark.slow,
        ),
        (np.int64(3), lambda size: jnp.ones(size).sum()),
    ],
    ids=["set", "dataclass", "names", "whole number of NumPy"],
)
def test_an_argument_may_be_anything(given, scale):
    svi, found = run(CompiledSVI, scale, given)
    assert_same(found, run(SVI, scale, given)[1])
    many = svi.run_many(random.split(random.key(0), 2), 10, given)
    assert many.losses.shape == (2, 10) and not many.diverged.any()


def test_among_mini_batches_one_without_a_hash_is_named():
    svi = CompiledSVI(*program(max), adam(), Trace_ELBO())
    with pytest.raises(InputError, match="an argument holds a set, which has no hash"):
        svi.run_batches(random.key(0), [({1.0, 2.0},)], progress_bar=False)


def losses(kind, key, scale, **settings):
    svi = kind(*program(lambda scale: scale), adam(), Trace_ELBO(), **settings)
    return svi.run(key, 5, scale, progress_bar=False).losses


@pytest.mark.parametrize("of", ["jit", "vmap", "grad"])
def test_a_run_inside_of_jax_is_numpyros(of):
    keys = random.split(random.key(0), 3)

    def found(kind):
        if of == "jit":
            return jax.jit(partial(losses, kind))(keys[0], 2.0)
        if of == "vmap":
            return jax.vmap(partial(losses, kind), (0, None))(keys, 2.0)
        return jax.grad(lambda scale: losses(kind, keys[0], scale).sum())(2.0)

    np.testing.assert_allclose(found(CompiledSVI), found(SVI), rtol=1e-9)


def test_inside_of_jax_no_net_can_look_at_losses():
    with pytest.raises(InputError, match=r"net=True .* inside of jax\.jit, .*run_many"):
        jax.jit(partial(losses, CompiledSVI, net=True))(random.key(0), 2.0)
