"""First values of parameters, and draws, are computed where they are asked for, and only there."""

from __future__ import annotations

import numpy as np
import pytest

jax = pytest.importorskip("jax")
numpyro = pytest.importorskip("numpyro")

import jax.numpy as jnp  # noqa: E402
import numpyro.distributions as dist  # noqa: E402
from record_numpyro_programs import session  # noqa: E402

from twinplate.records.record import Given  # noqa: E402

FIRST = {"loc": 0.25, "scale": 2.0}


def _model():
    loc = numpyro.param("loc", jnp.float64(0.25))
    scale = numpyro.param("scale", jnp.float64(2.0), constraint=dist.constraints.positive)
    numpyro.sample("x", dist.Normal(loc, scale), obs=jnp.float64(1.0))


def _stateful():
    counted = numpyro.primitives.mutable("state", {"added": jnp.float64(0.5)})
    loc = numpyro.param("loc", jnp.float64(0.25))
    numpyro.sample("x", dist.Normal(loc + counted["added"], 1.0), obs=jnp.float64(1.0))


@pytest.mark.parametrize("given", [{"loc": 0.75, "scale": 3.0}, {"loc": 0.75}, {}])
def test_values_that_are_not_given_are_the_programs_own(given):
    run = session(_model).run(Given(parameters={n: np.array(v) for n, v in given.items()}), (), {})
    assert run.failure is None
    found = {name: float(p.value) for name, p in run.parameters.items()}
    assert found == {**FIRST, **given}


def test_where_all_are_given_none_is_computed(monkeypatch):
    computed = []
    compile_one = jax.stages.Lowered.compile

    def counted(lowered, *args, **kwargs):
        computed.append(lowered)
        return compile_one(lowered, *args, **kwargs)

    monkeypatch.setattr(jax.stages.Lowered, "compile", counted)
    for given in (FIRST, {"loc": 0.75}):
        session(_model).run(Given(parameters={n: np.array(v) for n, v in given.items()}), (), {})
    assert len(computed) == 1


def test_a_state_is_the_programs_own_though_all_parameters_are_given():
    run = session(_stateful).run(Given(parameters={"loc": np.array(0.25)}), (), {})
    expected = 0.5 * (1 - 0.75) ** 2 + 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(run.loss, [expected], rtol=1e-12)


def test_the_outline_has_the_sites_of_a_sample_and_runs_nothing():
    calls = []

    def count(value):
        calls.append(value)
        return np.zeros(3)

    def model():
        loc = numpyro.param("loc", jnp.float64(0.25))
        with numpyro.plate("items", 3):
            z = numpyro.sample("z", dist.Dirichlet(jnp.ones(2)))
            added = jax.pure_callback(count, jax.ShapeDtypeStruct((3,), jnp.float64), z)
            numpyro.sample("x", dist.Normal(loc + added, 1.0), obs=jnp.zeros(3))

    opened = session(model, particles=2)
    outline = opened.outline(Given(), (), {})
    assert not calls and outline.failure is None
    sampled = opened.sample(0, Given(), (), {})
    assert calls
    assert list(outline.model) == list(sampled.model) == ["z", "x"]
    for name, site in outline.model.items():
        other = sampled.model[name]
        for what in ("kind", "plates", "batch_shape", "event_shape", "support", "family", "dtype"):
            assert getattr(site, what) == getattr(other, what), (name, what)
        assert site.value.shape == other.value.shape == (2, 3, *site.event_shape)
        assert site.log_prob.shape == other.log_prob.shape
    assert outline.parameters["loc"].value == 0.25


def test_first_values_may_hold_keys():
    def model():
        keys = numpyro.primitives.mutable("keys", {"one": jax.random.key(3)})
        numpyro.sample("x", dist.Normal(0.0, 1.0), obs=jax.random.normal(keys["one"]))

    run = session(model).run(Given(), (), {})
    with jax.enable_x64(True):
        expected = jax.random.normal(jax.random.key(3))
    np.testing.assert_array_equal(run.model["x"].value, [expected])
