"""Parameters are matched by the libraries' habits."""

from __future__ import annotations

import numpy as np

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
