"""Compiled runs are those of `numpyro.infer.SVI`: the same losses, parameters, state and random numbers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
import pytest
from jax import random
from numpyro import infer
from numpyro.infer import SVI, Trace_ELBO, autoguide
from numpyro_cases import CASES, data, regression, subsampling
from numpyro_runs import adam, assert_same, run

from numpyro_impl import CompiledSVI
from numpyro_impl import compilation_cache as compilations
from numpyro_impl.compiled import steps as svi_steps

FAST = {"AutoNormal", "score function", "batch norm"}  # the others are compiled by `make test-all`

pytestmark = pytest.mark.usefixtures("x64", "short_chunks")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in CASES]
)
def test_each_case_is_that_of_numpyro(name):
    _, expected = run(SVI, CASES[name])
    svi, found = run(CompiledSVI, CASES[name])
    assert_same(found, expected)
    assert len(svi._loops.kept) == 1 and svi.compile_seconds > 0


@pytest.mark.parametrize("loss", ["RenyiELBO", "TraceGraph_ELBO", "TraceMeanField_ELBO"])
def test_each_loss_is_that_of_numpyro(loss):
    """Most of them take names that have no order, too."""
    name = "slope" if loss == "TraceGraph_ELBO" else ("slope", 0)

    def make():
        def model(x, y):
            slope = numpyro.sample(name, dist.Normal(0.0, 1.0))
            with numpyro.plate("items", len(y)):
                shift = numpyro.sample("shift", dist.Normal(0.0, 1.0))
                numpyro.sample("y", dist.Normal(slope * x[:, 0] + shift, 1.0), obs=y)

        def guide(x, y):
            numpyro.sample(name, dist.Normal(numpyro.param("loc", 0.1), 0.5))
            with numpyro.plate("items", len(y)):
                numpyro.sample("shift", dist.Normal(numpyro.param("shift_loc", 0.2), 1.0))

        return model, guide, getattr(infer, loss)(num_particles=3)

    _, expected = run(SVI, make)
    _, found = run(CompiledSVI, make)
    assert_same(found, expected)


OPTIMISERS = {
    "clipped Adam": lambda: numpyro.optim.ClippedAdam(0.05, clip_norm=0.5),
    "schedule": lambda: numpyro.optim.Adam(lambda i: 0.05 / (1 + i)),
    "optax": lambda: optax.chain(optax.clip(1.0), optax.adam(0.02)),
    "infinite at first": lambda: optax.chain(
        optax.sgd(1e-3), optax.contrib.reduce_on_plateau(patience=2)
    ),
    "of jax": lambda: jax.example_libraries.optimizers.adagrad(0.05),
    "BFGS": numpyro.optim.Minimize,
}


@pytest.mark.parametrize(
    "name", [n if n == "optax" else pytest.param(n, marks=pytest.mark.slow) for n in OPTIMISERS]
)
def test_optimisers(name):
    steps = 2 if name == "BFGS" else 10
    make = CASES["AutoDelta" if name == "BFGS" else "subsampling"]
    _, expected = run(SVI, make, OPTIMISERS[name], steps=steps)
    _, found = run(CompiledSVI, make, OPTIMISERS[name], steps=steps)
    assert_same(found, expected, rtol=1e-6 if name == "BFGS" else 1e-10)


@pytest.mark.slow
def test_single_precision_too():
    with jax.enable_x64(False):
        _, expected = run(SVI, CASES["AutoNormal"])
        _, found = run(CompiledSVI, CASES["AutoNormal"])
    assert found.losses.dtype == np.float32
    assert_same(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"forward_mode_differentiation": True},
        {"init_params": {"slope_loc": jnp.array(-1.0)}},
    ],
    ids=lambda settings: next(iter(settings)),
)
@pytest.mark.slow
def test_settings_of_a_run(settings):
    _, expected = run(SVI, subsampling, **settings)
    _, found = run(CompiledSVI, subsampling, **settings)
    assert_same(found, expected)


def test_a_run_goes_on_from_a_state_and_leaves_it():
    svi, whole = run(CompiledSVI, CASES["AutoNormal"], steps=9)
    half = svi.run(random.key(0), 4, *data(), progress_bar=False)
    again = svi.run(None, 5, *data(), init_state=half.state, progress_bar=False)
    assert_same(again.state, whole.state)
    assert_same(half, svi.run(random.key(0), 4, *data(), progress_bar=False))
    after, loss = svi.update(half.state, *data())
    assert svi.evaluate(half.state, *data()) == pytest.approx(loss)
    assert loss == pytest.approx(whole.losses[4]) and after.optim_state[0] == 5
    fresh, _ = run(CompiledSVI, CASES["AutoNormal"], steps=5, init_state=half.state)
    assert fresh.constrain_fn is not None  # which a state does not hold


def test_the_state_is_given_away_and_the_callers_is_not(monkeypatch):
    given = []

    def copied(state):
        given.append(svi_steps.copied(state))
        return given[-1]

    monkeypatch.setattr("numpyro_impl.compiled.batching.copied", copied)
    svi, found = run(CompiledSVI, CASES["AutoNormal"])
    assert len(given) == 3
    assert all(leaf.is_deleted() for state in given for leaf in jax.tree.leaves(state))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(found))
    svi.run(None, 3, *data(), init_state=found.state, progress_bar=False)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(found))


def test_progress_is_told_after_each_chunk():
    told = []
    _, found = run(CompiledSVI, subsampling, progress=lambda n, losses: told.append((n, losses)))
    assert [done for done, _ in told] == [4, 8, 10]
    np.testing.assert_array_equal(np.concatenate([losses for _, losses in told]), found.losses)


def test_the_bar_counts_steps(capsys):
    svi, _ = run(CompiledSVI, subsampling)
    assert capsys.readouterr().err == ""
    svi.run(random.key(0), 10, *data())
    assert "10/10" in capsys.readouterr().err


# --- arguments, and what is compiled again --------------------------------------------------------


def test_other_data_and_numbers_of_steps_are_not_compiled_again():
    svi, _ = run(CompiledSVI, CASES["AutoNormal"])
    for steps, shift in ((10, 1.0), (3, 0.5), (17, 0.0)):
        arguments = data(shift)
        found = svi.run(random.key(3), steps, *arguments, progress_bar=False)
        stock = SVI(svi.model, svi.guide, adam(), Trace_ELBO())
        assert_same(found, stock.run(random.key(3), steps, *arguments, progress_bar=False))
    assert len(svi._loops.kept) == 1
    svi.run(random.key(3), 4, *(part[:7] for part in data()), progress_bar=False)
    assert len(svi._loops.kept) == 2


def unguided(*args, **kwargs):
    """The guide of a model that has parameters and no latent sites."""


def both(model):
    """A compiled object, and the function that holds its run against NumPyro's."""
    svi, stock = (kind(model, unguided, adam(), Trace_ELBO()) for kind in (CompiledSVI, SVI))

    def same(*args, **kwargs):
        runs = (s.run(random.key(1), 6, *args, progress_bar=False, **kwargs) for s in (svi, stock))
        assert_same(*runs)

    return svi, same


def test_numbers_are_data_and_everything_else_is_fixed():
    def model(tree, size, kind, link, scale=1.0, extra=None, wide=False):
        loc = numpyro.param("loc", 0.3) * (3 if wide else 1)
        family = {"normal": dist.Normal, "laplace": dist.Laplace}[kind]
        with numpyro.plate("items", size):
            mean = link(loc) if extra is None else link(loc) + extra
            numpyro.sample("y", family(mean, scale), obs=tree["y"][:size])

    svi, same = both(model)
    tree = {"y": np.arange(5.0)}
    for compiled, args, kwargs in [
        (1, (tree, 5, "normal", jnp.exp), {"scale": 1.0}),
        (1, ({"y": np.ones(5)}, 5, "normal", jnp.exp), {"scale": 0.5}),
        (2, (tree, 5, "normal", jnp.exp), {}),  # a default is a constant of the program
        (3, (tree, 4, "normal", jnp.exp), {}),
        (4, (tree, 5, "laplace", jnp.exp), {}),
        (5, (tree, 5, "normal", jnp.tanh), {"extra": 1.0, "wide": True}),
    ]:
        same(*args, **kwargs)
        assert len(svi._loops.kept) == compiled


def test_what_the_program_reads_besides_is_never_out_of_date():
    reads = {"scale": 1.0, "y": np.arange(6.0), "z": jnp.arange(6.0)}

    def model():
        loc = numpyro.param("loc", 0.0)
        numpyro.sample("y", dist.Normal(loc, reads["scale"]).expand([6]), obs=reads["y"])
        numpyro.sample("z", dist.Normal(loc, reads["scale"]).expand([6]), obs=reads["z"])

    svi, same = both(model)
    for change in ({}, {"scale": 3.0}, {"y": np.ones(6)}, {"z": jnp.ones(6)}):
        reads |= change
        same()
    reads["y"] += 1  # in place
    same()
    # Arrays of numbers are arguments of what is compiled; the scale, a number of Python, is written into it.
    assert len(svi._loops.kept) == 2


def test_fixed_arguments_of_the_object():
    def model(x, y, size):
        with numpyro.plate("items", size):
            numpyro.sample("y", dist.Normal(numpyro.param("loc", 0.0), 1.0), obs=y[:size])

    svi, stock = (
        kind(model, unguided, adam(), Trace_ELBO(), size=4) for kind in (CompiledSVI, SVI)
    )
    assert_same(*(s.run(random.key(0), 5, *data(), progress_bar=False) for s in (svi, stock)))


def test_a_key_among_the_arguments():
    def model(key, y):
        loc = numpyro.param("loc", 0.0) + random.normal(key)
        numpyro.sample("y", dist.Normal(loc, 1.0), obs=y)

    both(model)[1](random.key(4), jnp.array(0.3))


def test_compilations_are_kept_on_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(compilations, "MIN_SECONDS", 0.0)
    chosen = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    compilations.reset_cache()
    hits = []
    listener = lambda event, **facts: hits.append(event) if event.endswith("cache_hits") else None
    try:
        run(CompiledSVI, subsampling)
        left = {path.name for path in tmp_path.rglob("*-cache")}
        assert any("take_steps" in name for name in left)
        jax.monitoring.register_event_listener(listener)
        run(CompiledSVI, subsampling)
        assert hits and {path.name for path in tmp_path.rglob("*-cache")} == left
    finally:
        jax.monitoring.unregister_event_listener(listener) if hits else None
        jax.config.update("jax_compilation_cache_dir", chosen)
        compilations.reset_cache()


def test_a_regression_is_learned():
    svi = CompiledSVI(regression, autoguide.AutoDelta(regression), adam(), Trace_ELBO())
    found = svi.run(random.key(0), 400, *data(), progress_bar=False)
    assert found.losses[-1] < found.losses[0] - 10


def test_an_array_that_is_changed_while_a_run_is_under_way_changes_nothing_of_it():
    y = np.linspace(0.0, 1.0, 4096)  # which JAX's operations themselves leave NumPy's

    def model():
        scaled = jax.lax.mul(numpyro.param("loc", jnp.zeros(4096)), y)
        numpyro.sample("y", dist.Normal(scaled, 1.0), obs=1.0)

    def losses(progress):
        svi = CompiledSVI(model, unguided, adam(), Trace_ELBO())
        return svi.run(random.key(0), 300, progress_bar=False, progress=progress).losses

    def change(done, losses):
        y[:] = 0.0

    undisturbed = losses(None)
    np.testing.assert_array_equal(losses(change), undisturbed)
