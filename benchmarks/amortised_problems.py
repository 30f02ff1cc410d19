"""What guides are compared on: data of N items, and their exact log evidence.

    linear    a (K, B) in two plates, x normal
    event     the same with a (B, K) as one event: for guides that need it
    contrast  a log-normal contrast of each item besides, which multiplies
    counts    counts whose log rate is linear in a, with the item's library size

The evidence of the first three is that of a linear-Gaussian model, with a quadrature over the contrast; that
of counts is a Gauss-Hermite rule in the two components, centred at each item's mode.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, logsumexp

from twinplate.programs.amplitude import log_evidence_with_amplitude
from twinplate.programs.linear_gaussian import Array, LinearGaussian

COMPONENTS, FEATURES = 3, 8
NOISE, CONTRAST = 0.5, 0.3
NODES = 24  # of the rule in each component of `counts`
MODELS = ("linear", "event", "contrast", "counts")


@dataclass(frozen=True, eq=False)
class Problem:
    """x (N, D), loadings (D, K), intercept (D,), library (N,), and the mean log evidence of an item."""

    model: str
    x: Array
    loadings: Array
    intercept: Array
    library: Array
    truth: float

    @property
    def inputs(self) -> Array:
        """What an encoder is given, (N, D): counts as logarithms of rates."""
        if self.model != "counts":
            return self.x
        return np.log1p(self.x / self.library[:, None])


def make_problem(
    model: str, num_items: int, features: int = FEATURES, components: int = COMPONENTS
) -> Problem:
    """Data of that many items; loadings overlap, so that components are correlated given an item."""
    rng = np.random.default_rng(0)
    k = 2 if model == "counts" else components
    loadings = rng.normal(size=(features, 1)) + 0.5 * rng.normal(size=(features, k))
    a = rng.normal(size=(num_items, k))
    if model == "counts":
        loadings, intercept = 0.5 * loadings, rng.normal(0.5, 0.5, features)
        library = np.exp(0.3 * rng.normal(size=num_items))
        x = rng.poisson(library[:, None] * np.exp(a @ loadings.T + intercept)).astype(np.float64)
        truth = _counts_evidence(x, loadings, intercept, library).mean()
        return Problem(model, x, loadings, intercept, library, float(truth))
    contrast = np.exp(CONTRAST * rng.normal(size=(num_items, 1))) if model == "contrast" else 1.0
    x = contrast * (a @ loadings.T) + NOISE * rng.normal(size=(num_items, features))
    known = LinearGaussian(loadings, np.zeros(features), np.full(features, NOISE))
    evidence = (
        log_evidence_with_amplitude(known, CONTRAST, x)
        if model == "contrast"
        else known.log_evidence(x)
    )
    return Problem(
        model, x, loadings, np.zeros(features), np.ones(num_items), float(evidence.mean())
    )


def _counts_evidence(x: Array, loadings: Array, intercept: Array, library: Array) -> Array:
    """log ∫ Poisson(x | library · e^(W a + b)) N(a) da of every item."""
    offset = intercept + np.log(library)[:, None]
    mode = np.zeros((len(x), loadings.shape[1]))
    for _ in range(50):  # Newton's method; the logarithm is concave
        rate = np.exp(mode @ loadings.T + offset)
        slope = (x - rate) @ loadings - mode
        curvature = np.einsum("nd,dk,dj->nkj", rate, loadings, loadings) + np.eye(mode.shape[1])
        mode = mode + np.linalg.solve(curvature, slope[..., None])[..., 0]
    factor = np.linalg.inv(np.linalg.cholesky(curvature)).transpose(0, 2, 1)  # of the covariance
    points, weights = np.polynomial.hermite_e.hermegauss(NODES)
    grid = np.stack(np.meshgrid(points, points, indexing="ij"), -1).reshape(-1, 2)
    log_weight = np.log(np.outer(weights, weights).reshape(-1))
    a = mode[:, None] + np.einsum("nkj,gj->ngk", factor, grid)
    log_rate = a @ loadings.T + offset[:, None]
    counted = (x[:, None] * log_rate - np.exp(log_rate) - gammaln(x + 1)[:, None]).sum(-1)
    prior = -0.5 * (a**2).sum(-1) - np.log(2 * np.pi)
    volume = np.log(np.linalg.det(factor))[:, None] + 0.5 * (grid**2).sum(-1)
    return np.asarray(logsumexp(counted + prior + volume + log_weight, axis=1))
