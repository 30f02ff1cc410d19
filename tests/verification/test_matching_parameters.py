"""Parameters are matched by the libraries' habits."""

from __future__ import annotations

import numpy as np
import pytest

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
