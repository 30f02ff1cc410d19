"""Parameters are matched by the libraries' habits."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as numpyro_dist
import pyro
import pyro.distributions as dist
import pytest
import torch
from flax import linen
from numpyro.contrib.module import flax_module

from numpyro_impl import Program as NumpyroProgram
from pyro_impl import Program
from twinplate import InputError, verify
from twinplate.records.record import Parameter
from twinplate.verification.matching.parameters import match_parameters


def _parameters(**shapes):
    return {name: Parameter("real", np.zeros(shape)) for name, shape in shapes.items()}


def test_two_modules_with_layers_of_equal_names():
    """Flax numbers the layers of every module from 0."""
    torch = _parameters(
        **{"encoder$$$hidden.weight": (5, 6), "encoder$$$out.weight": (2, 5)},
        **{"decoder$$$0.weight": (5, 2), "decoder$$$2.weight": (6, 5)},
    )
    flax = _parameters(
        **{"encoder$params/Dense_0/kernel": (6, 5), "encoder$params/Dense_1/kernel": (5, 2)},
        **{"decoder$params/Dense_0/kernel": (2, 5), "decoder$params/Dense_1/kernel": (5, 6)},
    )
    matched = {match.first: match.second for match in match_parameters(torch, flax, {})}
    assert matched == {
        "encoder$$$hidden.weight": "encoder$params/Dense_0/kernel",
        "encoder$$$out.weight": "encoder$params/Dense_1/kernel",
        "decoder$$$0.weight": "decoder$params/Dense_0/kernel",
        "decoder$$$2.weight": "decoder$params/Dense_1/kernel",
    }


def test_layers_of_stax_are_pairs_without_words():
    """Dense keeps (in, out) and a bias; a square weight is turned too, which no shape shows."""
    torch = _parameters(
        **{"net$$$a.weight": (3, 3), "net$$$a.bias": (3,)},
        **{"net$$$b.weight": (2, 3), "net$$$b.bias": (2,)},
    )
    stax = _parameters(
        **{"net$params/0/0": (3, 3), "net$params/0/1": (3,)},
        **{"net$params/2/1/0": (3, 2), "net$params/2/1/1": (2,)},
    )
    matches = {match.first: match for match in match_parameters(torch, stax, {})}
    assert {name: match.second for name, match in matches.items()} == {
        "net$$$a.weight": "net$params/0/0",
        "net$$$a.bias": "net$params/0/1",
        "net$$$b.weight": "net$params/2/1/0",
        "net$$$b.bias": "net$params/2/1/1",
    }
    values = np.arange(9.0).reshape(3, 3)
    np.testing.assert_array_equal(matches["net$$$a.weight"].to_second(values), values.T)


@pytest.mark.parametrize(
    "tree",
    [
        {"net$params/first/kernel": (3, 4), "net$params/last/kernel": (4, 2)},  # flax
        {"net$params/mlp/~/linear_0/w": (3, 4), "net$params/mlp/~/linear_1/w": (4, 2)},  # haiku
        {"net/linear/w": (3, 4), "net/linear_1/w": (4, 2)},  # a tree by any name
        {"net$params/layers/0/weight": (4, 3), "net$params/layers/2/weight": (2, 4)},  # equinox
        {"first$params/kernel": (3, 4), "last$params/kernel": (4, 2)},  # a module for each layer
    ],
)
@pytest.mark.parametrize("mark", [".", "$$$"])
def test_layers_of_a_pyro_module_that_have_no_name_together(tree, mark):
    """A layer of a PyroModule is "first.weight" where it is one itself, else "first$$$weight"."""
    layers = _parameters(**{f"first{mark}weight": (4, 3), f"last{mark}weight": (2, 4)})
    other = _parameters(**tree)
    for first, second in ((layers, other), (other, layers)):
        matched = {match.first: match.second for match in match_parameters(first, second, {})}
        assert matched == dict(zip(first, second, strict=True))


@pytest.mark.parametrize(
    ("words", "axes"),
    [
        ({"conv/kernel": (5, 3, 2, 4), "conv/bias": (4,)}, (2, 3, 1, 0)),  # flax
        ({"conv/w": (5, 3, 2, 4), "conv/b": (4,)}, (2, 3, 1, 0)),  # haiku
        ({"conv/weight": (4, 2, 5, 3), "conv/bias": (4, 1, 1)}, (0, 1, 2, 3)),  # equinox
    ],
)
def test_convolutions_are_turned_to_the_layout_of_torch(words, axes):
    """torch has (out, in, height, width), flax and Haiku (height, width, in, out)."""
    torch = _parameters(**{"net$$$conv.weight": (4, 2, 5, 3), "net$$$conv.bias": (4,)})
    other = _parameters(**{f"net$params/{name}": shape for name, shape in words.items()})
    weight, bias = match_parameters(torch, other, {})
    values = np.arange(120.0).reshape(4, 2, 5, 3)
    turned = np.transpose(values, axes)
    assert turned.shape == other[weight.second].value.shape
    np.testing.assert_array_equal(weight.to_second(values), turned)
    np.testing.assert_array_equal(weight.to_first(turned), values)
    assert bias.to_second(np.ones(4)).shape == other[bias.second].value.shape
    assert bias.to_first(other[bias.second].value).shape == (4,)


def test_a_layer_without_its_bias_is_matched_by_the_rest():
    torch = _parameters(
        **{"net$$$norm.weight": (4,), "net$$$norm.bias": (4,)},
        **{"net$$$out.weight": (2, 4), "net$$$out.bias": (2,)},
    )
    haiku = _parameters(
        **{"net$params/norm/scale": (4,)},
        **{"net$params/out/w": (4, 2), "net$params/out/b": (2,)},
    )
    for first, second in ((torch, haiku), (haiku, torch)):
        alone = {*first, *second}
        for match in match_parameters(first, second, {}):
            alone -= {match.first, match.second}
        assert alone == {"net$$$norm.bias"}


def test_dots_alone_make_no_layer():
    """Sites and autoguides have such names, too."""
    names = ("AutoNormal.locs.net.weight", "kernel.lengthscale", "net.weight")
    first = {name: Parameter("real", np.zeros(2)) for name in names}
    first["net.weight"] = Parameter("unconstrained", np.zeros(2))
    assert match_parameters(first, _parameters(**{"net$params/scale": (2,)}), {}) == []


def test_a_module_is_renamed_with_all_of_its_parameters():
    layers = _parameters(
        **{"dec$$$0.weight": (5, 2), "dec$$$0.bias": (5,), "dec$$$2.weight": (2, 5)}
    )
    flax = _parameters(
        **{"decoder$params/Dense_0/kernel": (2, 5), "decoder$params/Dense_0/bias": (5,)},
        **{"decoder$params/Dense_1/kernel": (5, 2)},
    )
    expected = {
        "dec$$$0.weight": "decoder$params/Dense_0/kernel",
        "dec$$$0.bias": "decoder$params/Dense_0/bias",
        "dec$$$2.weight": "decoder$params/Dense_1/kernel",
    }
    there = match_parameters(layers, flax, {"dec": "decoder"})
    assert {m.first: m.second for m in there} == expected
    back = match_parameters(flax, layers, {"decoder": "dec"})
    assert {m.second: m.first for m in back} == expected


def test_modules_that_exchange_their_names():
    both = _parameters(**{"a$$$0.weight": (4, 4), "b$$$0.weight": (4, 4), "scale": ()})
    matches = match_parameters(both, both, {"a": "b", "b": "a"})
    assert {m.first: m.second for m in matches} == {
        "a$$$0.weight": "b$$$0.weight",
        "b$$$0.weight": "a$$$0.weight",
        "scale": "scale",
    }


def test_one_parameter_of_a_renamed_module_has_a_name_of_its_own():
    torch = _parameters(**{"a$$$0.weight": (4, 4), "a$$$1.weight": (4, 4)})
    other = _parameters(**{"b$$$0.weight": (4, 4), "b$$$1.weight": (4, 4)})
    matches = match_parameters(torch, other, {"a": "b", "a$$$0.weight": "b$$$1.weight"})
    assert {m.first: m.second for m in matches} == {
        "a$$$0.weight": "b$$$1.weight",
        "a$$$1.weight": "b$$$0.weight",
    }


# -- a whole module under another name, in programs -------------------------------------------------------


def networks(name, wrong=False):
    """A torch layer of this name, or with `wrong` of another activation."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Tanh(), torch.nn.Linear(2, 3))

    def model():
        pyro.module(name, net)
        x = torch.tensor([0.3, -0.2, 1.0])
        mean = net(2 * x if wrong else x)
        pyro.sample("z", dist.Normal(mean, 1.0).to_event(1), obs=x)

    return Program(model, lambda: None)


class Layers(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Dense(3)(jnp.tanh(linen.Dense(2)(x)))


def flax_network(name):
    def model():
        x = jnp.array([0.3, -0.2, 1.0])
        mean = flax_module(name, Layers(), x)(x)
        numpyro.sample("z", numpyro_dist.Normal(mean, 1.0).to_event(1), obs=x)

    return NumpyroProgram(model, lambda: None)


def test_a_renamed_module_in_both_directions():
    there = {"net": "decoder"}
    assert verify(networks("net"), flax_network("decoder"), rename=there, seeds=(0,)).ok
    assert verify(flax_network("net"), networks("decoder"), rename=there, seeds=(0,)).ok
    wrong = verify(networks("net"), networks("decoder", True), rename=there, seeds=(0,))
    assert (wrong.verdict, wrong.findings[0].site) == ("differs", "z"), wrong


def test_what_a_renamed_module_is_called_wrongly():
    programs = networks("net"), flax_network("decoder")
    with pytest.raises(
        InputError, match=r"no such site, plate, parameter or module.*it has decoder, "
    ):
        verify(*programs, rename={"net": "decoders"})
    with pytest.raises(InputError, match="functions for 'net', which is a module"):
        verify(*programs, rename={"net": ("decoder", np.transpose, np.transpose)})
