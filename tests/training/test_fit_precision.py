"""Training in single and in double precision."""

from __future__ import annotations

import numpy as np
import pytest
from fit_cases import PROGRAMS, N, config
from twins import both_twins


@both_twins("objective", ["elbo", "simulated"], quick=["elbo"])
def test_single_precision_is_single_and_double_is_double(twin, problem, objective):
    """Every number of the state, moments and losses included (a float32 survives the round trip)."""
    x, program, _ = problem(N, missing=0.2, **PROGRAMS["learned, amplitude"])

    def survives(values):
        return values == np.asarray(values, np.float32)

    for precision in ("float32", "float64"):
        # The caller's own setting does not matter.
        with twin.using("float32" if precision == "float64" else "float64"):
            done = twin.impl.fit(x, program, config(precision=precision, objective=objective))
        state = done.state
        for part in (state.params, state.mean, state.variance, state.average):
            numbers = np.concatenate([v[v != 0] for v in part.values()])
            assert numbers.dtype == np.float64
            if precision == "float32":
                assert survives(numbers).all()
            else:
                # Parameters that have no gradient stay what they were: count by array.
                assert all(not survives(v[v != 0]).all() for v in part.values() if v.any())
        totals = done.losses * N
        assert np.isclose(totals, np.float32(totals), rtol=1e-12, atol=0).all() == (
            precision == "float32"
        )


def test_both_precisions_begin_alike(twin, problem):
    x, program, _ = problem(N)
    losses = [
        twin.impl.fit(x, program, config(precision=p), matched=True).losses
        for p in ("float32", "float64")
    ]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    assert (losses[0] != losses[1]).any()


@pytest.mark.parametrize("twin", ["numpyro"], indirect=True)
def test_products_are_in_the_precision_of_their_type(twin, problem, monkeypatch):
    """Also where the default is less, as JAX's is on a GPU: every product of the loop says so."""
    loop, traced = twin.module("training.loop"), []
    make = loop.make_loop

    def seen(*given):
        one = make(*given)
        return lambda *args: (traced.append(twin.jax.make_jaxpr(one)(*args)), one(*args))[1]

    monkeypatch.setattr(loop, "make_loop", seen)
    x, program, _ = problem(N, missing=0.2, **PROGRAMS["event full"])
    twin.impl.fit(x, program, config(precision="float32"))
    products = str(traced[0]).count("dot_general[")
    assert products and str(traced[0]).count("(Precision.HIGHEST, Precision.HIGHEST)") == products
