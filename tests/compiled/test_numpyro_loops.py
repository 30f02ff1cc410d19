"""How much XLA makes of a loop of steps: less of few steps, until more are asked for."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer import Trace_ELBO

from numpyro_impl import CompiledSVI, quick_compilation
from numpyro_impl.compiled.cost import step_operations
from numpyro_impl.quick_compilation import QUICK

KEY = jax.random.key(0)


@pytest.fixture
def told(monkeypatch):
    """What the compiler is told for each loop."""
    found, compile_one = [], jax.stages.Lowered.compile

    def compiled(lowered, compiler_options=None):
        if "while" in lowered.as_text():
            found.append(compiler_options)
        return compile_one(lowered, compiler_options=compiler_options)

    monkeypatch.setattr(jax.stages.Lowered, "compile", compiled)
    monkeypatch.setattr(quick_compilation, "STEP", 1e4)
    monkeypatch.setattr(quick_compilation, "SHORT", 20 * 1e4)
    return found


def svi(size=1):
    def model(y):
        mean = numpyro.param("mean", np.zeros(size, np.float32))
        numpyro.sample("y", dist.Normal(mean, 1.0).to_event(1), obs=y)

    return CompiledSVI(model, lambda y: None, numpyro.optim.Adam(0.1), Trace_ELBO())


def run(made, steps, y=2.0):
    return made.run(KEY, steps, np.float32(y), progress_bar=False)


def test_a_loop_of_few_steps_is_compiled_quickly_until_more_are_asked_for(told):
    made = svi()
    run(made, 8)
    run(made, 8)
    assert told == [QUICK]
    run(made, 8)
    assert told == [QUICK, None]
    run(made, 8)
    assert told == [QUICK, None]


def test_many_steps_and_large_ones_are_optimised_at_once(told):
    run(svi(), 30)
    run(svi(size=100_000), 1)
    assert told == [None, None]


def test_steps_in_mini_batches_whose_number_nobody_knows_are_optimised(told):
    svi().run_batches(KEY, iter([np.float32(2.0)]), progress_bar=False)
    assert told == [None]


def test_a_scan_counts_with_all_its_turns_and_a_loop_of_any_number_is_optimised(told):
    def scanned(y):
        walk = lambda carry, _: (carry + numpyro.param("drift", 0.1), None)
        end, _ = jax.lax.scan(walk, 0.0, None, length=100_000)
        numpyro.sample("y", dist.Normal(end, 1.0), obs=y)

    def searched(y):
        found = jax.lax.while_loop(lambda i: i < y, lambda i: i + 1.0, 0.0)
        numpyro.sample("y", dist.Normal(numpyro.param("mean", 0.0) + found, 1.0), obs=y)

    for model in (scanned, searched):
        run(CompiledSVI(model, lambda y: None, numpyro.optim.Adam(0.1), Trace_ELBO()), 1)
    assert told == [None, None]


@pytest.mark.parametrize(
    ("program", "shapes", "expected"),
    [
        (lambda x: x + 1, [(3, 4)], 12),
        (jnp.matmul, [(3, 4), (4, 5)], 2 * 3 * 4 * 5),
        (jnp.matmul, [(7, 3, 4), (7, 4, 5)], 7 * 2 * 3 * 4 * 5),
        (partial(jax.lax.conv, window_strides=(1, 1), padding="VALID"),
         [(2, 3, 8, 8), (5, 3, 3, 3)], 2 * (2 * 5 * 6 * 6) * (3 * 3 * 3)),
        (jax.jit(lambda x: jnp.exp(x)), [(6,)], 6),
    ],
    ids=["sum", "matrices", "rows of matrices", "convolution", "function"],
)  # fmt: skip
def test_operations_are_counted(program, shapes, expected):
    arrays = [np.zeros(shape, np.float32) for shape in shapes]
    jaxpr = jax.jit(program).trace(*arrays).jaxpr.jaxpr
    assert step_operations(jaxpr) == expected


def test_both_have_the_same_numbers_to_rounding(told, monkeypatch):
    quick = run(svi(), 15)
    monkeypatch.setattr(quick_compilation, "SHORT", 0)
    optimised = run(svi(), 15)
    assert told == [QUICK, None]
    np.testing.assert_allclose(quick.losses, optimised.losses, rtol=1e-6)
