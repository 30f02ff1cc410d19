"""Many fits in one compiled program are the single ones; what goes wrong is told, and nothing is lost."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from jax import random
from numpyro import handlers
from numpyro.infer import SVI, Trace_ELBO, autoguide
from numpyro_cases import CASES, batch_norm, data, regression, subsampling, with_autoguide
from numpyro_runs import adam, assert_same, run

from numpyro_impl import CompiledSVI
from numpyro_impl.compiled.steps import finite_numbers
from twinplate import InputError
from twinplate.training.errors import NonFiniteLossError, OutOfMemoryError

pytestmark = pytest.mark.usefixtures("x64", "short_chunks")

KEYS = range(2)


def run_many(make, steps=10, arguments=None, **settings):
    model, guide, loss = make()
    svi = CompiledSVI(model, guide, adam(), loss)
    keys = jnp.stack([random.key(k) for k in KEYS])
    return svi, svi.run_many(keys, steps, *(arguments or data()), **settings)


def row(tree, r):
    return jax.tree.map(lambda leaf: leaf[r], tree)


def assert_same_as_row(many, r, single):
    np.testing.assert_allclose(many.losses[r], single.losses, rtol=1e-9)
    assert_same(row((many.params, many.states), r), (single.params, single.state), rtol=1e-9)


@pytest.mark.parametrize(
    "name",
    [
        "AutoNormal",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("subsampling", "batch norm")),
    ],
)
def test_each_is_the_run_of_its_key(name):
    _, many = run_many(CASES[name])
    assert many.losses.shape == (2, 10) and many.learning_rates is None
    for key in KEYS:
        assert_same_as_row(many, key, run(CompiledSVI, CASES[name], key=key)[1])
    assert not np.allclose(many.losses[0], many.losses[1])
    assert not many.diverged.any() and many.divergence_rate == 0


def test_each_is_the_run_of_its_rate():
    told = []
    optim = {"optim": numpyro.optim.Adam, "learning_rates": (0.01, 0.3)}
    svi, many = run_many(
        subsampling, progress=lambda n, losses: told.append((n, len(losses))), **optim
    )
    np.testing.assert_allclose(many.learning_rates, [0.01, 0.01, 0.3, 0.3])
    for r, rate, key in ((1, 0.01, 1), (2, 0.3, 0)):
        single = run(CompiledSVI, subsampling, lambda rate=rate: numpyro.optim.Adam(rate), key=key)
        assert_same_as_row(many, r, single[1])
    assert told == [(16, 4), (32, 4), (40, 2)]
    assert len(svi._loops.kept) == 1
    best = many.best_run
    assert best.losses.mean() == pytest.approx(many.losses.mean(axis=1).min())
    assert_same(best.state, row(many.states, many.best))


@pytest.mark.slow
def test_parts_of_an_automatic_guide_start_anew():
    def make():
        guide = autoguide.AutoGuideList(regression)
        guide.append(autoguide.AutoNormal(handlers.block(regression, hide=["noise"])))
        guide.append(autoguide.AutoDelta(handlers.block(regression, expose=["noise"])))
        return regression, guide, Trace_ELBO()

    _, many = run_many(make, steps=2)
    assert_same_as_row(many, 1, run(CompiledSVI, make, key=1, steps=2)[1])


def test_a_fit_that_diverges_disturbs_no_other():
    optim = {"optim": numpyro.optim.SGD, "learning_rates": (1e-3, 1e30)}
    _, many = run_many(with_autoguide(autoguide.AutoNormal), **optim)
    np.testing.assert_array_equal(many.diverged, [False, False, True, True])
    single = run(CompiledSVI, CASES["AutoNormal"], lambda: numpyro.optim.SGD(1e-3), key=1)[1]
    assert_same_as_row(many, 1, single)
    assert many.best < 2 and many.divergence_rate == 0.5 and np.isfinite(many.best_run.losses).all()


@pytest.mark.parametrize(
    ("keys", "settings", "told"),
    [
        (random.key(0), {}, r"shape \(\); expected a row of keys"),
        (jnp.zeros(2, jnp.uint32), {}, r"shape \(2,\); expected a row of keys"),
        (random.split(random.key(0), 2), {"learning_rates": [0.1]}, "expected both or neither"),
        (random.split(random.key(0), 2), {"optim": numpyro.optim.Adam}, "expected both or neither"),
    ],
)
def test_keys_and_rates_that_do_not_fit(keys, settings, told):
    svi = CompiledSVI(*subsampling()[:2], adam(), Trace_ELBO())
    with pytest.raises(InputError, match=told):
        svi.run_many(keys, 3, *data(), **settings)
    with pytest.raises(InputError, match="num_steps is 0; expected a positive"):
        svi.run_many(random.split(random.key(0), 2), 0, *data())


# --- what goes wrong ------------------------------------------------------------------------------


def breaking(at, where):
    """A program whose loss, or whose gradient alone, is not a number at step `at`; `init` runs it first."""

    @jax.custom_jvp
    def same(x, n):
        return x

    @same.defjvp
    def _(values, tangents):
        return values[0], tangents[0] * jnp.where(values[1] > at, jnp.nan, 1.0)

    def model(x, y):
        taken = numpyro.primitives.mutable("taken", {"n": jnp.array(0)})
        loc = numpyro.param("loc", jnp.ones(3))
        loc = same(loc, taken["n"])
        bad = jnp.where((taken["n"] > at) & (where == "loss"), jnp.nan, 0.0)
        numpyro.sample("y", dist.Normal(loc.sum() + bad, 1.0), obs=y.sum())
        taken["n"] = taken["n"] + 1

    return lambda: (model, lambda x, y: None, Trace_ELBO())


@pytest.mark.parametrize("at", [0, 6])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_the_last_good_state_is_that_before_the_bad_step(at, where):
    make = breaking(at, where)
    with pytest.raises(NonFiniteLossError) as caught:
        run(CompiledSVI, make)
    fit, message = caught.value.fit, str(caught.value)
    assert f"at step {at} of 10 (the first is 0)" in message
    assert ("the loss is nan" in message) == (where == "loss")
    assert len(fit.losses) == at and fit.state.optim_state[0] == at
    assert f"norm of the parameters is {np.linalg.norm(fit.params['loc']):.3g};" in message
    if at:
        expected = run(SVI, make, steps=at)[1]
        assert_same(fit, expected)


@pytest.mark.parametrize("bad", ["no", "small", "large", "both"])
def test_a_number_that_is_not_finite_is_found_in_leaves_of_any_size(bad, monkeypatch):
    monkeypatch.setattr("numpyro_impl.compiled.steps.SMALL", 12)
    small, large = np.ones((3, 4)), np.ones((5, 3), np.float32)
    for name, leaf, value in (("small", small, np.nan), ("large", large, -np.inf)):
        if bad in (name, "both"):
            leaf[-1, 1] = value
    tree = {"small": small, "large": large, "count": 2, "key": random.key(0), "scalar": 1.0}
    found = finite_numbers.__wrapped__(tree)
    assert found.shape == (12 + 1 + 1,) and (~found).sum() == {"no": 0, "both": 2}.get(bad, 1)


def test_without_a_real_number_all_are_finite():
    assert finite_numbers({"count": jnp.arange(3)}).all()


def test_a_stable_update_steps_over_what_is_not_finite():
    _, expected = run(SVI, breaking(6, "loss"), stable_update=True)
    _, found = run(CompiledSVI, breaking(6, "loss"), stable_update=True)
    assert_same(found, expected)
    assert np.isnan(found.losses).sum() == 4


def test_a_run_goes_on_from_the_last_good_state():
    x, y = data()
    model, guide, loss = CASES["AutoNormal"]()
    svi = CompiledSVI(model, guide, adam(), loss)
    whole = svi.run(random.key(0), 4, x, y, progress_bar=False)
    with pytest.raises(NonFiniteLossError) as caught:
        svi.run(None, 4, x, y.at[0].set(jnp.inf), init_state=whole.state, progress_bar=False)
    assert "the loss is inf at step 0 of 4" in str(caught.value)
    assert_same(caught.value.fit.state, whole.state)
    again = svi.run(None, 4, x, y, init_state=caught.value.fit.state, progress_bar=False)
    assert np.isfinite(again.losses).all()


def exhausted(*arguments, **options):
    raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8589934592 bytes.")


def test_out_of_memory_proposes_what_is_smaller(monkeypatch):
    svi, first = run(CompiledSVI, subsampling, steps=4)
    taken = []

    def once(take):
        def taking(*arguments):
            taken.append(take)
            return exhausted() if len(taken) > 1 else take(*arguments)

        return taking

    for text, take in list(svi._loops.kept.items()):
        svi._loops.kept[text] = once(take)
    with pytest.raises(
        OutOfMemoryError, match=r"after step 4 of 10; .*smaller subsample_size"
    ) as caught:
        svi.run(random.key(0), 10, *data(), progress_bar=False)
    assert_same(caught.value.fit, first)
    monkeypatch.setattr(svi, "_compile", exhausted)
    with pytest.raises(InputError, match="out of memory with 2 fits at once; expected fewer"):
        svi.run_many(random.split(random.key(0), 2), 3, *data())


def test_other_errors_of_a_program_are_its_own():
    def model(x, y):
        numpyro.sample("y", dist.Normal(numpyro.param("loc", 0.0), 1.0), obs=y @ x @ y)

    svi = CompiledSVI(model, lambda x, y: None, adam(), Trace_ELBO())
    with pytest.raises(TypeError, match="dot_general"):
        svi.run(random.key(0), 3, *data(), progress_bar=False)


def test_a_run_without_steps_is_refused():
    svi = CompiledSVI(*batch_norm()[:2], adam(), Trace_ELBO())
    with pytest.raises(InputError, match="num_steps is 0"):
        svi.run(random.key(0), 0, *data(), progress_bar=False)
