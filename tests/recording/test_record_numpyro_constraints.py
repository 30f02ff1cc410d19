"""Names that NumPyro's constraints have in a record, and gradients in unconstrained coordinates."""

from __future__ import annotations

import numpy as np
import pytest
from record_numbers import numeric
from record_paths import TRIL

jax = pytest.importorskip("jax")
pytest.importorskip("numpyro")

import jax.numpy as jnp  # noqa: E402
from numpyro.distributions import constraints  # noqa: E402

from numpyro_impl.recording.constraints import full_name_of, name_of, unconstrained_gradient  # noqa: E402


@pytest.mark.parametrize(
    ("constraint", "name"),
    [
        (constraints.real, "real"),
        (constraints.real_vector, "real"),
        (constraints.real_matrix, "real"),
        (constraints.independent(constraints.positive, 2), "positive"),
        (constraints.nonnegative, "nonnegative"),
        (constraints.unit_interval, "unit_interval"),
        (constraints.open_interval(0, 1), "interval"),
        (constraints.greater_than_eq(2), "greater_than"),
        (constraints.less_than_eq(2), "less_than"),
        (constraints.boolean, "boolean"),
        (constraints.nonnegative_integer, "nonnegative_integer"),
        (constraints.positive_integer, "positive_integer"),
        (constraints.integer_interval(0, 3), "integer_interval"),
        (constraints.multinomial(3), "multinomial"),
        (constraints.simplex, "simplex"),
        (constraints.lower_cholesky, "lower_cholesky"),
        (constraints.softplus_lower_cholesky, "softplus_lower_cholesky"),
        (constraints.softplus_positive, "softplus_positive"),
        (constraints.scaled_unit_lower_cholesky, "scaled_unit_lower_cholesky"),
        (constraints.positive_definite, "positive_definite"),
        (constraints.positive_semidefinite, "positive_semidefinite"),
        (constraints.corr_cholesky, "corr_cholesky"),
        (constraints.corr_matrix, "corr_matrix"),
        (constraints.ordered_vector, "ordered"),
        (constraints.positive_ordered_vector, "positive_ordered"),
        (constraints.circular, "circular"),
        (constraints.sphere, "sphere"),
        (constraints.l1_ball, "l1_ball"),
    ],
)
def test_names_of_supports(constraint, name):
    assert name_of(constraint) == name


@pytest.mark.parametrize(
    ("constraint", "name"),
    [
        (constraints.interval(0, 5.0), "interval(0, 5)"),
        (constraints.greater_than(jnp.array([1.0, 2.5])), "greater_than(1 2.5)"),
        (constraints.independent(constraints.less_than(-1.0), 1), "less_than(-1)"),
        (constraints.nonnegative, "positive"),
        (constraints.simplex, "simplex"),
    ],
)
def test_names_of_a_parameters_constraint_say_the_bounds(constraint, name):
    assert full_name_of(constraint) == name


TRANSFORMS = {
    # constraint, a value, and its map from the shared coordinates with those of the value
    "simplex": (
        constraints.simplex,
        [0.2, 0.3, 0.5],
        lambda u: jnp.exp(u) / jnp.exp(u).sum(),
        np.log,
    ),
    "lower_cholesky": (
        constraints.lower_cholesky,
        TRIL,
        lambda u: jnp.tril(u, -1) + jnp.diag(jnp.exp(jnp.diag(u))),
        lambda x: np.tril(x, -1) + np.diag(np.log(np.diag(x))),
    ),
    "softplus_lower_cholesky": (
        constraints.softplus_lower_cholesky,
        TRIL,
        lambda u: jnp.tril(u, -1) + jnp.diag(jnp.log1p(jnp.exp(jnp.diag(u)))),
        lambda x: np.tril(x, -1) + np.diag(np.log(np.expm1(np.diag(x)))),
    ),
    "scaled_unit_lower_cholesky": (
        constraints.scaled_unit_lower_cholesky,
        TRIL,
        lambda u: jnp.log1p(jnp.exp(jnp.diag(u)))[:, None] * (jnp.tril(u, -1) + jnp.eye(2)),
        lambda x: np.tril(x / np.diag(x)[:, None], -1) + np.diag(np.log(np.expm1(np.diag(x)))),
    ),
    "positive": (constraints.positive, [0.2, 3.0], jnp.exp, np.log),
    "interval": (
        constraints.interval(0.0, 5.0),
        [0.2, 3.0],
        lambda u: 5 / (1 + jnp.exp(-u)),
        lambda x: np.log(np.divide(x, 5) / (1 - np.divide(x, 5))),
    ),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_gradients_are_in_shared_coordinates(name, x64):
    constraint, value, constrained, coordinates = TRANSFORMS[name]
    value = np.asarray(value)
    weights = np.arange(1.0, value.size + 1).reshape(value.shape)
    u = coordinates(value)
    np.testing.assert_allclose(constrained(jnp.asarray(u)), value, rtol=1e-12)
    expected = jax.grad(lambda u: (constrained(u) * weights).sum())(jnp.asarray(u))
    found = unconstrained_gradient(constraint, jnp.asarray(value), jnp.asarray(weights))
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_gradient_of_a_positive_definite_matrix(x64):
    value, weights = TRIL @ TRIL.T, np.array([[1.0, 2.0], [2.0, 5.0]])

    def matrix(a, b, c):
        tril = np.array([[np.exp(a), 0], [b, np.exp(c)]])
        return tril @ tril.T * weights

    a, b, c = numeric(matrix, *(np.array(v) for v in (np.log(1.3), 0.5, np.log(0.7))))
    found = unconstrained_gradient(
        constraints.positive_definite, jnp.asarray(value), jnp.asarray(weights)
    )
    np.testing.assert_allclose(found, [[a, 0], [b, c]], rtol=1e-7, atol=1e-9)
