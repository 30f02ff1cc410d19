"""What a caller may count on during training: progress is told, nothing of theirs is changed."""

from __future__ import annotations

import random

import numpy as np
import pytest
from fit_cases import ALL, N, config


def test_progress_is_told_after_every_chunk(twin, problem):
    x, program, _ = problem(N)
    told = []
    done = twin.impl.fit(
        x, program, config(steps=250), progress=lambda step, losses: told.append((step, losses))
    )
    assert [step for step, _ in told] == [100, 200, 250]
    np.testing.assert_array_equal(np.concatenate([losses for _, losses in told]), done.losses)
    assert done.losses.shape == (250,)


def test_arguments_are_not_written_to(twin, problem):
    x, program, _ = problem(N, missing=0.2)
    a = np.random.default_rng(0).normal(size=(3, N))
    kept = x.copy(), a.copy(), {n: v.copy() for n, v in program.fixed.items()}
    twin.impl.fit(x, program, config(objective="pairs"), a=a)
    np.testing.assert_array_equal(x, kept[0])
    np.testing.assert_array_equal(a, kept[1])
    for name, values in program.fixed.items():
        np.testing.assert_array_equal(values, kept[2][name])


@pytest.mark.parametrize("fails", [False, True])
def test_the_callers_world_is_as_it_was(twin, problem, fails):
    """Random generators, Pyro's parameter store and validation, JAX's precision: after an error too."""
    x, program, _ = problem(N, learned=ALL)
    twin.framework.set_rng_seed(99) if twin.name == "pyro" else np.random.seed(99)
    before = world(twin)

    def stop(*_):
        raise KeyboardInterrupt

    if fails:
        with pytest.raises(KeyboardInterrupt):
            twin.impl.fit(x, program, config(), progress=stop)
    else:
        twin.impl.fit(x, program, config())
    for name, value in world(twin).items():
        np.testing.assert_equal(value, before[name], err_msg=name)


def world(twin):
    found = {"python": random.getstate(), "numpy": np.random.get_state()}
    if twin.name == "numpyro":
        return {**found, "x64": twin.jax.config.jax_enable_x64}
    store = twin.framework.get_param_store()
    mine = twin.framework.param("raw_loadings", twin.torch.ones(2))
    return {
        **found,
        "torch": twin.torch.get_rng_state().numpy(),
        "names": sorted(store.keys()),
        "mine": mine.detach().numpy().copy(),
        "validation": twin.framework.infer.util.is_validation_enabled(),
        "dtype": twin.torch.get_default_dtype(),
        "threads": twin.torch.get_num_threads(),
    }
