"""Where the numbers of a parameter lie in the other program: by transposition, packing, joined parts."""

from __future__ import annotations

import numpy as np
import pytest

from twinplate.conversion.links import Link
from twinplate.records.record import Parameter

rng = np.random.default_rng(6)


def real(shape, constraint="real"):
    return Parameter(constraint, rng.normal(size=shape))


def there_and_back(link, first, second, expected):
    """What `link` makes of the first's values is as expected, and comes back."""
    values = {name: p.value for name, p in first.items()}
    there = link.to_second(values, first, second)
    assert there.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(there[name], value, rtol=1e-12, atol=1e-14)
    back = link.to_first(there, first, second)
    for name, value in values.items():
        np.testing.assert_allclose(back[name], value, rtol=1e-12, atol=1e-14)


def test_a_convolution_is_turned():
    """(out, in, rows, columns) to (rows, columns, in, out): a turn that is not its own inverse."""
    first, second = {"weight": real((5, 4, 2, 3))}, {"kernel": real((2, 3, 4, 5))}
    link = Link(("weight",), ("kernel",), ((5, 4, 2, 3), (2, 3, 4, 5)), (2, 3, 1, 0))
    there_and_back(
        link, first, second, {"kernel": np.moveaxis(first["weight"].value, (0, 1), (3, 2))}
    )


def test_dims_of_one_come_and_go():
    first, second = {"bias": real((4,))}, {"bias": real((4, 1, 1))}
    link = Link(("bias",), ("bias",), ((4,), (4, 1, 1)), (0,))
    there_and_back(link, first, second, {"bias": first["bias"].value[:, None, None]})


ORDER = (2, 0, 3, 1)


@pytest.mark.parametrize(
    ("packing", "shape", "moved"),
    [
        ("loc", (4,), lambda x: x[list(ORDER)]),
        ("cov_factor", (4, 2), lambda x: x[list(ORDER)]),
        ("entries", (2, 2), lambda x: x.ravel()[list(ORDER)].reshape(2, 2)),
    ],
)
def test_a_joint_latent_is_packed_in_another_order(packing, shape, moved):
    first, second = {"a": real(shape)}, {"b": real(shape)}
    link = Link(("a",), ("b",), (shape, shape), tuple(range(len(shape))), packing, ORDER)
    there_and_back(link, first, second, {"b": moved(first["a"].value)})


def test_a_factor_goes_by_way_of_the_covariance():
    """Pyro's scale and unit triangle to one factor, whose covariance is the reordered one."""
    scale = Parameter("softplus_positive", rng.uniform(0.5, 2.0, 4))
    unit = Parameter("unit_lower_cholesky", np.tril(rng.normal(size=(4, 4)), -1) + np.eye(4))
    first, second = {"g.scale": scale, "g.scale_tril": unit}, {"tril": real((4, 4))}
    link = Link(tuple(first), ("tril",), ((4, 4), (4, 4)), (0, 1), "scale_tril", ORDER)
    factor = scale.value[:, None] * unit.value
    covariance = (factor @ factor.T)[np.ix_(ORDER, ORDER)]
    there_and_back(link, first, second, {"tril": np.linalg.cholesky(covariance)})


def test_steps_of_a_series_are_a_stack():
    first = {f"z_{t}": real((2,)) for t in range(3)}
    second = {"z": real((3, 2))}
    link = Link(tuple(first), ("z",), ((3, 2), (3, 2)), (0, 1))
    there_and_back(link, first, second, {"z": np.stack([p.value for p in first.values()])})
