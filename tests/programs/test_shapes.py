"""Shape checks: what passes, and what the message tells whoever put the batch on the wrong dim.

D = 4 features, K = 3 components and B = 5 items, pairwise different.
"""

import itertools

import numpy as np
import pytest

from twinplate.errors import InputError
from twinplate.programs.shapes import check_items, check_num_items, check_observed, check_plated


def refusal(function, *args) -> str:
    with pytest.raises(InputError) as caught:
        function(*args)
    return str(caught.value)


@pytest.mark.parametrize("batch_size", [1, 4, 5])
def test_items_first(batch_size):
    assert check_items((batch_size, 4), 4) == batch_size


@pytest.mark.parametrize("shape", [(4, 5), (5, 3), (5, 4, 1), (1, 5, 4), (4,), ()])
def test_items_of_another_shape(shape):
    message = refusal(check_items, shape, 4)
    assert f"x has shape {shape}" in message
    assert "(batch_size, num_features) = (B, 4), items first" in message


def test_transposed_items_are_recognised():
    assert "transposed: pass x.T" in refusal(check_items, (4, 5), 4)
    assert "transposed" not in refusal(check_items, (5, 3), 4)


def test_a_single_item_is_not_called_transposed():
    assert "transposed" not in refusal(check_items, (4,), 4)


def broadcasts(shape) -> bool:
    try:
        return np.broadcast_shapes(shape, (3, 5)) == (3, 5)
    except ValueError:
        return False


SHAPES = [shape for n in range(4) for shape in itertools.product((1, 2, 3, 5), repeat=n)]


@pytest.mark.parametrize("shape", SHAPES)
def test_plated_shapes_are_those_that_numpy_broadcasts(shape):
    if broadcasts(shape):
        check_plated("loc", shape, 3, 5)
    else:
        message = refusal(check_plated, "loc", shape, 3, 5)
        assert f"loc has shape {shape}" in message
        assert "broadcasts to (num_components, batch_size) = (3, 5)" in message


@pytest.mark.parametrize("shape", [(5, 3), (1, 3), (5, 1)])
def test_transposed_plated_shapes_are_recognised(shape):
    message = refusal(check_plated, "scale", shape, 3, 5)
    assert "transposed: pass scale.T, with the mini-batch on dim=-1" in message
    assert "transposed" not in refusal(check_plated, "scale", (3, 2), 3, 5)


def test_one_value_per_component_is_told_to_become_a_column():
    message = refusal(check_plated, "loc", (3,), 3, 5)
    assert "loc[:, None]" in message and "loc.T" not in message


@pytest.mark.parametrize("shape", [(5, 3), (3, 1), (1, 5), (3,), (1, 3, 5), ()])
def test_an_observed_a_is_exactly_plated(shape):
    message = refusal(check_observed, shape, 3, 5)
    assert f"observed a has shape {shape}" in message
    assert "(num_components, batch_size) = (3, 5)" in message and "event model" in message
    assert ("transposed: pass a.T" in message) == (shape == (5, 3))
    check_observed((3, 5), 3, 5)
    check_observed([3, 5], 3, 5)


def test_full_size_of_the_mini_batch_plate():
    assert check_num_items(None, 5) == 5
    assert check_num_items(5, 5) == 5
    assert check_num_items(100, 5) == 100
    message = refusal(check_num_items, 4, 5)
    assert "num_items is 4" in message and "5 items" in message and "whole data set" in message
