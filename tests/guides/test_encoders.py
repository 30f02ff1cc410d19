"""Encoders of the automatic guide: what they learn is trained, in whichever way they are given."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from guide_runs import first_params, posterior, train

from twinplate import InputError

N, D = 8, 3
X = np.random.default_rng(0).normal(size=(N, D))


def _model(twin):
    f, d = twin.framework, twin.dist

    def model(x):
        with f.plate("items", N, dim=-1):
            z = f.sample("z", d.Normal(twin.array(np.zeros(2)), 1.0).to_event(1))
            f.sample("x", d.Normal(z.sum(-1), 0.5), obs=x[:, 0])

    return model


def _linear(twin):
    if twin.name == "pyro":
        return twin.torch.nn.Linear(D, 4).double()
    from flax import nnx

    return nnx.Linear(D, 4, rngs=nnx.Rngs(0), param_dtype=twin.jax.numpy.float64)


def _by_the_frameworks_own_call(twin, net):
    if twin.name == "pyro":
        return lambda x: twin.framework.module("own", net)(x)
    from numpyro.contrib.module import nnx_module

    return lambda x: nnx_module("own", net)(x)


def _told(twin, encoder, **given):
    """Texts of the warnings at the first use."""
    if twin.name == "pyro":
        twin.framework.clear_param_store()  # or the guide would take over the last one's
    guide = twin.impl.AutoAmortizedNormal(_model(twin), "items", encoder, **given)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        first_params(twin, guide, twin.array(X))
    return [str(w.message) for w in caught]


def test_a_function_around_a_module_is_told_that_nothing_trains_it(twin):
    net = _linear(twin)
    (told,) = _told(twin, lambda x: net(x / 2))
    assert "calls a module (Linear), whose parameters stay as they are" in told


def test_nothing_is_told_where_the_module_is_trained_or_is_no_encoder(twin):
    net = _linear(twin)
    assert _told(twin, net) == []
    assert _told(twin, _by_the_frameworks_own_call(twin, net)) == []
    assert _told(twin, lambda x: x, features=lambda x: net(x)) == []


def test_what_the_store_has_becomes_the_encoders(own_world):
    """In Pyro, where a store that was loaded would otherwise train numbers that no module computes with."""
    import pyro
    import torch

    from pyro_impl.guides.encoders import encode

    x, trained = torch.ones(2, 3), torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh())
    expected = encode("net", trained, x)
    fresh = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh())
    assert torch.equal(encode("net", fresh, x), expected)
    assert fresh[0].weight is pyro.get_param_store()._params["net$$$0.weight"]


def test_a_frozen_module_is_meant_to_stay_as_it_is(own_world):
    from twins import TWINS

    twin = TWINS["pyro"]()
    net = _linear(twin).requires_grad_(False)
    assert _told(twin, lambda x: net(x / 2)) == []


def _modules():
    import equinox
    import jax
    from flax import linen, nnx

    return {
        "nnx": nnx.Linear(D, 4, rngs=nnx.Rngs(0)),
        "linen": linen.Dense(4),
        "equinox": equinox.nn.Linear(D, 4, key=jax.random.key(0)),
    }


@pytest.mark.parametrize("library", ["nnx", "linen", "equinox"])
def test_every_library_of_modules_for_jax_is_trained(library, own_world):
    from twins import TWINS

    twin = TWINS["numpyro"]()
    with twin.using("float64"):
        net, x = _modules()[library], twin.array(X)
        guide = twin.impl.AutoAmortizedNormal(_model(twin), "items", net)
        before = first_params(twin, guide, x)
        _, after = train(twin, _model(twin), guide, 5, x)
        (name,) = (n for n in after if n.startswith("auto_encoder"))
        leaves = [twin.jax.tree.leaves(params[name]) for params in (before, after)]
        sizes = sorted(np.size(leaf) for leaf in leaves[1])
        assert sizes == [4, 4 * D]
        moved = [np.abs(np.subtract(b, a)).max() for b, a in zip(*leaves, strict=True)]
        assert min(moved) > 1e-3


def test_an_encoder_of_another_width_is_refused_with_the_formula(twin):
    """Of other features than those that the last layer was made for; J is 2."""
    guide = twin.impl.AutoAmortizedNormal(_model(twin), "items", lambda x: x[:, :width])
    width = 3
    params = first_params(twin, guide, twin.array(X))
    width = 2
    words = r"gives 2 features, .*\(5, 3\): \(H, F\), H = 2 J \+ J \(J - 1\) / 2 = 5, for J = 2 and F = 3"
    with pytest.raises(InputError, match=words):
        posterior(twin, guide, params, twin.array(X))


def test_a_head_of_another_model_is_refused_with_the_formula(twin):
    guide = twin.impl.AutoAmortizedNormal(_model(twin), "items", lambda x: x)
    params = first_params(twin, guide, twin.array(X))
    params["auto_head_bias"] = np.zeros(9)
    words = r"are of 9 and 5 numbers, .* 2 J \+ J \(J - 1\) / 2 = 5, J = 2 \(z: 2; in all 2\)"
    with pytest.raises(InputError, match=words):
        posterior(twin, guide, params, twin.array(X))


def test_data_of_another_type_than_the_encoder_are_refused_in_words(own_world):
    """In Pyro: NumPyro's networks compute with both."""
    import torch
    from pyro import distributions as dist
    from pyro import plate, sample

    from pyro_impl import AutoAmortizedNormal

    def model(x):
        with plate("items", len(x), dim=-1):
            sample("z", dist.Normal(torch.zeros(()), 1.0))

    guide = AutoAmortizedNormal(model, "items", torch.nn.Linear(D, 4).float())
    with pytest.raises(
        InputError, match=r"gives float64, and .* are float32; .*encoder.double\(\)"
    ):
        guide(torch.tensor(X))
    guide = AutoAmortizedNormal(model, "items", torch.nn.Linear(D + 1, 4).double(), prefix="other")
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):  # torch's own words
        guide(torch.tensor(X))


def test_sets_of_any_length_by_pooling(twin):
    """The order of a set's members, what pads it and how long that is do not matter."""
    f, d = twin.framework, twin.dist

    def model(x, there):
        with f.plate("items", len(x), dim=-1):
            f.sample("z", d.Normal(twin.array(np.zeros(2)), 1.0).to_event(1))

    def pooled(x, there):
        kept = (x**3 - x) * there[..., None]
        return kept.sum(1) / there.sum(1)[:, None]

    guide = twin.impl.AutoAmortizedNormal(
        model, "items", pooled, features=lambda x, there: (x, there)
    )
    generator = np.random.default_rng(0)
    x, lengths = generator.normal(size=(30, 5, D)), generator.integers(1, 6, 30)
    there = np.arange(5) < lengths[:, None]
    given = twin.array(x), twin.array(there, "bool")
    params = first_params(twin, guide, *given)
    params["auto_head_weight"] = generator.normal(size=params["auto_head_weight"].shape)
    found = twin.numpy(posterior(twin, guide, params, *given).loc)
    assert (np.ptp(found, 0) > 0.5).all()
    longer = np.concatenate([np.where(there[..., None], x, 0.7), np.ones((30, 2, D))], 1)
    for order in (np.arange(7), np.arange(7)[::-1]):
        other = longer[:, order], np.concatenate([there, there[:, :2] & False], 1)[:, order]
        other = twin.array(other[0]), twin.array(other[1], "bool")
        again = twin.numpy(posterior(twin, guide, params, *other).loc)
        np.testing.assert_allclose(again, found, rtol=1e-10)
