"""Names that torch's and Pyro's constraints have in a record."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pyro")

import pyro.distributions as dist  # noqa: E402
from torch.distributions import constraints  # noqa: E402

from pyro_impl.recording.constraints import full_name_of, name_of  # noqa: E402


@pytest.mark.parametrize(
    ("constraint", "name"),
    [
        (constraints.real, "real"),
        (constraints.real_vector, "real"),
        (constraints.independent(constraints.positive, 2), "positive"),
        (constraints.nonnegative, "nonnegative"),
        (constraints.unit_interval, "unit_interval"),
        (constraints.interval(0, 5), "interval"),
        (constraints.greater_than(1), "greater_than"),
        (constraints.greater_than_eq(1), "greater_than"),
        (constraints.less_than(1), "less_than"),
        (constraints.boolean, "boolean"),
        (constraints.nonnegative_integer, "nonnegative_integer"),
        (constraints.integer_interval(0, 3), "integer_interval"),
        (constraints.simplex, "simplex"),
        (constraints.one_hot, "one_hot"),
        (constraints.multinomial(3), "multinomial"),
        (constraints.lower_cholesky, "lower_cholesky"),
        (constraints.positive_definite, "positive_definite"),
        (constraints.corr_cholesky, "corr_cholesky"),
        (dist.constraints.corr_matrix, "corr_matrix"),
        (dist.constraints.ordered_vector, "ordered"),
        (dist.constraints.positive_ordered_vector, "positive_ordered"),
        (dist.constraints.softplus_positive, "softplus_positive"),
        (dist.constraints.softplus_lower_cholesky, "softplus_lower_cholesky"),
        (dist.constraints.unit_lower_cholesky, "unit_lower_cholesky"),
        (dist.constraints.sphere, "sphere"),
    ],
)
def test_names_of_supports(constraint, name):
    assert name_of(constraint) == name


@pytest.mark.parametrize(
    ("constraint", "name"),
    [
        (constraints.positive, "positive"),
        (constraints.nonnegative, "positive"),  # the same map
        (constraints.interval(0, 5), "interval(0, 5)"),
        (constraints.interval(torch.tensor([0.5, 1]), 5), "interval(0.5 1, 5)"),
        (constraints.greater_than(1.0), "greater_than(1)"),
        (constraints.less_than(-2), "less_than(-2)"),
        (dist.constraints.softplus_positive, "softplus_positive"),
    ],
)
def test_names_of_parameters_constraints(constraint, name):
    assert full_name_of(constraint) == name
