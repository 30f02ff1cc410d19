"""Medians, quantiles and draws of items that were not trained on, beside sites outside of their plate."""

from __future__ import annotations

import numpy as np
import pytest
from guide_runs import ask, first_params, native, set_params
from twins import both_twins

from twinplate import InputError

N, NEW = 8, 3
rng = np.random.default_rng(0)
X, KNOWN = rng.normal(size=(N, 2)), np.arange(N) % 2 == 0


def _model(twin):
    """A level outside; inside a latent that is known for some items, and what follows from it."""
    f, d = twin.framework, twin.dist

    def model(x, z, known):
        level = f.sample("level", d.Normal(twin.array(0.0), 1.0))
        f.deterministic("above", level + 1)
        with f.plate("items", len(x), dim=-1):
            z = f.sample("z", d.Normal(level, 1.0), obs=z, obs_mask=known)
            twice = f.deterministic("twice", 2 * z)
            f.sample("x", d.Normal(twice[:, None] + 0 * x, 1.0).to_event(1), obs=x)

    return model


def _arguments(twin, items):
    values = np.full(N, 7.0)
    return (*map(twin.array, (X[items], values[items])), twin.array(KNOWN[items], "bool"))


def _params(twin, guide, *args):
    """Of the first features: z is 3 + 2 x₀ in spreads, with scale 0.5; the level is 0.25."""
    params = first_params(twin, guide, *args)
    raw = np.log(np.expm1(0.5))
    params["auto_head_bias"], params["auto_head_weight"] = np.array([3.0, raw]), np.zeros((2, 2))
    params["auto_skip_weight"] = np.array([[2.0, 0.0]])
    name = next(name for name in params if name.endswith(("level_auto_loc", "locs.level")))
    params[name] = np.array(0.25)
    set_params(twin, params)
    if twin.name == "pyro":
        guide(*args)  # called, Pyro's own guides take their parameters from the store
    return params


def _loc(params, items):
    x = (X[items] - params["auto_center"]) / params["auto_spread"]
    return np.where(KNOWN[items], 0.0, 3 + 2 * x[:, 0]), np.where(KNOWN[items], 1.0, 0.5)


@both_twins("which", ["new", "same"], quick=["new"])
def test_medians_and_quantiles_are_of_the_latents_of_these_items(twin, which):
    """Nothing that another run of the model has drawn, or of other items, is among them."""
    items = {"new": slice(1, 1 + NEW), "same": slice(N)}[which]
    guide = twin.impl.AutoAmortizedNormal(_model(twin), "items", lambda x: x)
    params = _params(twin, guide, *_arguments(twin, slice(N)))
    given, (loc, scale) = _arguments(twin, items), _loc(params, items)
    median = ask(twin, guide, "median", params, *given)
    assert {*median} == {"level", "z_unobserved"}
    np.testing.assert_allclose(twin.numpy(median["level"]), 0.25)
    np.testing.assert_allclose(twin.numpy(median["z_unobserved"]), loc, rtol=1e-6)
    quantiles = ask(twin, guide, "quantiles", params, [0.5, 0.9], *given)
    assert {*quantiles} == {"level", "z_unobserved"}
    expected = loc + scale * np.array([[0.0], [1.2815515655446004]])
    np.testing.assert_allclose(twin.numpy(quantiles["z_unobserved"]), expected, rtol=1e-6)


def test_draws_are_of_the_latents_of_these_items(twin):
    guide = twin.impl.AutoAmortizedNormal(_model(twin), "items", lambda x: x)
    params = _params(twin, guide, *_arguments(twin, slice(N)))
    items = slice(1, 1 + NEW)
    key = () if twin.name == "pyro" else (twin.jax.random.key(0), native(twin, params))
    draws = guide.sample_posterior(*key, *_arguments(twin, items), sample_shape=(500,))
    assert {name: tuple(d.shape) for name, d in draws.items()} == {
        "level": (500,),
        "z_unobserved": (500, NEW),
    }
    loc, scale = _loc(params, items)
    error = np.abs(twin.numpy(draws["z_unobserved"]).mean(0) - loc)
    assert (error < 5 * scale / np.sqrt(500)).all()


def test_the_guide_of_a_second_plate_is_given_named_arguments_too(twin):
    f, d = twin.framework, twin.dist

    def model(x, *, y):
        with f.plate("films", len(y), dim=-1):
            f.sample("film", d.Normal(twin.array(0.0), 1.0))
        with f.plate("items", len(x), dim=-1):
            f.sample("z", d.Normal(twin.array(0.0), 1.0))

    def films(model):
        given = {"features": lambda x, y: y, "prefix": "films"}
        return twin.impl.AutoAmortizedNormal(model, "films", lambda y: y, **given)

    arguments = {"features": lambda x, y: x, "global_guide": films}
    guide = twin.impl.AutoAmortizedNormal(model, "items", lambda x: x, **arguments)
    x, y = twin.array(X), twin.array(X[:5])
    params = first_params(twin, guide, x, y=y)
    found = [ask(twin, guide, "median", params, x[:4], y=y[:2])]
    found.append(ask(twin, guide, "quantiles", params, [0.5], x[:4], y=y[:2]))
    shapes = [{name: tuple(v.shape) for name, v in values.items()} for values in found]
    assert shapes == [{"film": (2,), "z": (4,)}, {"film": (1, 2), "z": (1, 4)}]


def test_a_guide_that_has_not_run_says_that_it_lacks_the_sites_outside(twin):
    """Instead of leaving them out: what their guide is like, its first run shows."""
    make = lambda: twin.impl.AutoAmortizedNormal(_model(twin), "items", lambda x: x)
    params = _params(twin, make(), *_arguments(twin, slice(N)))
    fresh = make()
    with pytest.raises(InputError, match=r"has not run yet.* \('level',\).* call it once"):
        ask(twin, fresh, "median", params, *_arguments(twin, slice(NEW)))
    with pytest.raises(InputError, match="has not run yet"):
        ask(twin, fresh, "quantiles", params, [0.5], *_arguments(twin, slice(NEW)))
