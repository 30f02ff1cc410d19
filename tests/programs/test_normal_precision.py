"""The numerical claim for the multivariate normals: single precision, ill-conditioned."""

from __future__ import annotations

from itertools import product

import numpy as np
from mpmath import mp
from normals import is_packed, make, natives
from triangles import filled
from twins import both_twins


def ill_conditioned(family, seed):
    """K = 8: a factor with diagonal 1e-5 … 1 and off-diagonals around 3, or cov_diag around 1e-10."""
    rng, k = np.random.default_rng(seed), 8
    loc = rng.normal(size=k)
    if family != "low-rank":
        below, scale = np.tril(3 * rng.normal(size=(k, k)), -1), np.logspace(-5, 0, k)
        packed = [loc, scale, below[np.tril_indices(k, -1)]]
        full = [loc, below + np.diag(scale)]
        return [p.astype(np.float32) for p in (packed if family == "packed" else full)]
    factor, diagonal = rng.normal(size=(k, 2)), 1e-10 * rng.uniform(0.5, 2.0, k)
    return [p.astype(np.float32) for p in (loc, factor, diagonal)]


def exact_log_prob(parameters, noise):
    """Density at the exact draw of `noise`: sixty digits, straight from the covariance matrix."""
    with mp.workdps(60):
        matrix = lambda values: mp.matrix(np.asarray(values, float).tolist())
        k = len(parameters[0])
        if is_packed(parameters):
            step = matrix(filled(*parameters[1:]))
        elif len(parameters) == 2:
            step = matrix(parameters[1])
        else:
            step = mp.zeros(k, noise.shape[-1])
            step[:, k:] = matrix(parameters[1])
            for i, d in enumerate(parameters[2]):
                step[i, i] = mp.sqrt(mp.mpf(float(d)))
        cov = step * step.T
        constant = mp.log(mp.det(cov)) + k * mp.log(2 * mp.pi)
        draws = [step * matrix(row) for row in noise]
        return np.array([float(-((d.T * mp.lu_solve(cov, d))[0] + constant) / 2) for d in draws])


@both_twins(
    "family, seed",
    product(["full", "packed", "low-rank"], range(3)),
    quick=[("full", 0), ("packed", 1), ("low-rank", 2)],
)
def test_in_single_precision_the_stock_density_is_lost_and_ours_is_not(twin, family, seed):
    parameters = ill_conditioned(family, seed)
    size = 10 if family == "low-rank" else 8
    noise = np.random.default_rng(seed + 10).normal(size=(20, size)).astype(np.float32)
    exact = exact_log_prob(parameters, noise)
    with twin.using("float32"):
        native = natives(twin, parameters, "float32")
        value, log_prob = twin.drawn_from(make(twin.impl, native), twin.array(noise, "float32"))
        assert "float32" in str(log_prob.dtype)
        stock = twin.numpy(make(twin.dist, native).log_prob(value))
        ours = twin.numpy(log_prob)
    assert np.abs(stock - exact).min() > 1  # nat, at every one of its own draws
    np.testing.assert_allclose(ours, exact, rtol=1e-6)
