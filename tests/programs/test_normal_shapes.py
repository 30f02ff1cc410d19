"""The multivariate normals broadcast, expanded, in plates, masked or in an event: they still remember."""

from __future__ import annotations

import numpy as np
import pytest
from normals import FAMILIES, families, make, natives, numbers, scipy_log_prob
from twins import both_twins

from twinplate.errors import InputError


def in_turn(names, shapes):
    """Every family in every shape, with NumPyro by default each family in one, each shape once."""
    cases = [(family, *shape) for family in FAMILIES for shape in shapes]
    quick = [(family, *shape) for family, shape in zip(FAMILIES, shapes, strict=True)]
    return both_twins(f"family, {names}", cases, quick)


@in_turn("first, second", [((), (5,)), ((5,), ()), ((5,), (1,)), ((2, 1), (5,))])
def test_parameters_broadcast(twin, no_solve, family, first, second):
    """loc in one batch shape, the covariance in another."""
    shape = np.broadcast_shapes(first, second)
    first, second = (numbers(family, batch=batch) for batch in (first, second))
    parameters = [first[0], *second[1:]]
    if family == "low-rank":
        parameters[2] = first[2]
    value, log_prob = twin.draw(make(twin.impl, natives(twin, parameters)))
    assert value.shape[:-1] == shape
    expected = scipy_log_prob(parameters, twin.numpy(value))
    np.testing.assert_allclose(twin.numpy(log_prob), expected, rtol=1e-11, atol=1e-11)


@in_turn("batch, to", [((), (3,)), ((5,), (2, 5)), ((1,), (5,)), ((2, 1), (4, 2, 3))])
def test_expanded_it_still_remembers(twin, no_solve, family, batch, to):
    parameters = numbers(family, batch=batch)
    expanded = make(twin.impl, natives(twin, parameters)).expand(to)
    value, log_prob = twin.draw(expanded)
    value = twin.numpy(value)
    assert value.shape == (*to, 4) and len(np.unique(value)) == value.size
    expected = scipy_log_prob(parameters, value)
    np.testing.assert_allclose(twin.numpy(log_prob), expected, rtol=1e-11, atol=1e-11)


@families
def test_expanded_to_its_own_shape_it_is_itself(twin, family):
    ours = make(twin.impl, natives(twin, numbers(family, batch=(5,))))
    assert ours.expand((5,)) is ours


@families
@pytest.mark.parametrize("subsample", [None, 12])
def test_inside_plates_it_still_remembers(twin, no_solve, family, subsample):
    """Two nested plates, a third to the left of them, sizes pairwise different."""
    parameters = numbers(family, batch=(5,))

    def program():
        joint = make(twin.impl, natives(twin, parameters))
        plate = twin.framework.plate
        size = {"subsample_size": 5} if subsample else {}
        left, middle = plate("left", 2, dim=-3), plate("middle", 3, dim=-2)
        with left, middle, plate("items", subsample or 5, dim=-1, **size):
            return twin.framework.sample("z", joint)

    value, log_prob, _ = twin.trace(program)["z"]
    assert value.shape == (2, 3, 5, 4) and log_prob.shape == (2, 3, 5)
    assert len(np.unique(value)) == value.size
    np.testing.assert_allclose(log_prob, scipy_log_prob(parameters, value), rtol=1e-11, atol=1e-11)


@families
def test_masked_or_in_an_event_it_still_remembers(twin, no_solve, family):
    parameters = numbers(family, batch=(2, 5))
    mask = np.array([True, False, True, True, False])
    masked = make(twin.impl, natives(twin, parameters)).mask(twin.array(mask, "bool"))
    event = make(twin.impl, natives(twin, parameters)).to_event(1)
    for fn, counted in ((masked, mask), (event, np.ones(5))):
        value, log_prob = twin.draw(fn)
        expected = scipy_log_prob(parameters, twin.numpy(value)) * counted
        expected = expected.sum(-1) if fn is event else expected
        np.testing.assert_allclose(twin.numpy(log_prob), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((5, 4), (5, 3), (5, 6)), "expected"),
        (((5, 4), (5, 4), (5, 5)), "= (..., 6), or (..., 0) for a diagonal covariance"),
        (((), (4,), (6,)), "one dim or more"),
        (((5, 4), (3, 4), (5, 6)), "do not broadcast"),
    ],
)
def test_packed_shapes_that_do_not_fit(twin, shapes, message):
    with pytest.raises(InputError) as caught:
        twin.impl.PackedMultivariateNormal(*(twin.array(np.ones(s)) for s in shapes))
    assert message in str(caught.value) and str(shapes[0][:-1])[:-1] in str(caught.value)
