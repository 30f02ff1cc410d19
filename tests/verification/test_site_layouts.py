"""Values that the user's functions lay out otherwise: all that a record says of a site moves along."""

from __future__ import annotations

import numpy as np
import pytest

from twinplate.errors import InputError
from twinplate.records.record import Plate, Site
from twinplate.verification.matching.site_layouts import laid_out, rearrangement
from twinplate.verification.matching.sites import SiteMatch

SECOND = np.arange(12.0).reshape(1, 3, 2, 2)  # (P, rows, columns | event)


def turned(values):
    return values.swapaxes(0, 1)


def site(shape, event_shape, plates=(), **numbers) -> Site:
    return Site("latent", plates, shape, event_shape, "real", "Normal", "float64", **numbers)


MATCH = SiteMatch(("a",), ("b",), (turned, turned))


def test_all_of_a_site_moves_with_its_value():
    density, mask = SECOND[..., 0], SECOND[..., 1] > 2
    plates = Plate("rows", -2, 3, 3), Plate("columns", -1, 2, 2)
    second = site(
        (3, 2), (2,), plates, scale=1 + density, value=SECOND, log_prob=density, mask=mask,
        arguments={"loc": SECOND[:, :, :1], "df": np.array([3.0]), "scale_tril": np.ones((1, 3, 2, 2, 2))},
    )  # fmt: skip
    moved = laid_out(MATCH, site((2, 3), (2,), scale=1.0), second)
    assert (moved.batch_shape, moved.event_shape) == ((2, 3), (2,))
    assert moved.plates == (Plate("columns", -2, 2, 2), Plate("rows", -1, 3, 3))
    np.testing.assert_array_equal(moved.value, SECOND.swapaxes(1, 2))
    np.testing.assert_array_equal(moved.log_prob, density.swapaxes(1, 2))
    np.testing.assert_array_equal(moved.scale, 1 + density.swapaxes(1, 2))
    np.testing.assert_array_equal(moved.mask, mask.swapaxes(1, 2))
    assert moved.arguments.keys() == {"loc", "df"}
    np.testing.assert_array_equal(moved.arguments["loc"][0, 0], SECOND[0, :, 0])


def test_a_value_of_another_shape_is_left_to_the_comparison():
    other = site((), (4, 2), scale=1.0)
    assert laid_out(MATCH, site((), (2, 3), scale=1.0), other) is other


@pytest.mark.parametrize(
    ("convert", "said"),
    [
        ((lambda w: 2 * w.T, lambda w: w.T / 2), "only moves them"),
        ((lambda w: w.T, lambda w: w), "does not undo"),
        ((lambda w: w[:, :, 0], lambda w: w), r"fail on a value of shape \(2, 3\)"),
    ],
)
def test_functions_that_do_not_move_numbers_are_refused(convert, said):
    with pytest.raises(InputError, match=said):
        rearrangement("a", convert, (2, 3), (3, 2))


def test_a_layout_that_mixes_batch_and_event_dims_is_refused():
    second = site((3,), (2,), scale=1.0)
    with pytest.raises(InputError, match=r"mixes batch dims \(3,\) with event dims \(2,\)"):
        laid_out(MATCH, site((2,), (3,), scale=1.0), second)
