"""A normal at the mode of the posterior of every item of counts: where the posterior lies, without any guide.

The log density of each likelihood is concave in its predictor, and the predictor linear in the latents, so
that the posterior has one mode, which Newton's method finds. As a proposal it reaches items that are far from
all others, for which no guide was trained.
"""

from __future__ import annotations

import numpy as np
import scipy

from twinplate.programs.generalised_linear import GeneralisedLinear
from twinplate.programs.linear_gaussian import Array, Gaussian

STEPS = 50  # of Newton's method, at most
LONGEST = 2.0  # change of a predictor in one step: of far items exp overshoots
CLOSE = 1e-8


def laplace(model: GeneralisedLinear, x: Array, offsets: Array | None = None) -> Gaussian:
    """The normals (N,), with the mode of p(a | x) and the inverse of its curvature there, of `x` (N, D).

    >>> import numpy as np
    >>> from twinplate import GeneralisedLinear
    >>> model = GeneralisedLinear("poisson", [[1.0]])  # at the mode, 5 - exp(a) - a = 0
    >>> laplace(model, np.array([[5.0]])).loc.round(4)
    array([[1.3066]])
    """
    seen = ~np.isnan(x)
    values, a = np.where(seen, x, 0.0), np.tile(model.loc, (len(x), 1))
    precision = np.diag(1 / model.scale**2)
    for _ in range(STEPS):
        slope, curvature = _derivatives(model, values, model.predictor(a, offsets))
        slope, curvature = np.where(seen, slope, 0.0), np.where(seen, curvature, 0.0)
        hessian = np.einsum("dk,nd,dj->nkj", model.loadings, curvature, model.loadings) + precision
        gradient = slope @ model.loadings - (a - model.loc) / model.scale**2
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        change = np.abs(step @ model.loadings.T).max(axis=1, keepdims=True)
        a = a + step * np.minimum(1.0, LONGEST / np.maximum(change, LONGEST))
        if np.abs(step).max(initial=0.0) < CLOSE:
            break
    lower = np.linalg.cholesky(hessian)
    inverse = np.linalg.inv(lower)
    covariance: Array = inverse.transpose(0, 2, 1) @ inverse
    return Gaussian(a, np.asarray(np.linalg.cholesky(covariance), np.float64))


def _derivatives(model: GeneralisedLinear, x: Array, predictor: Array) -> tuple[Array, Array]:
    """Of log p(x | η) the first, and the second with its sign turned, (N, D) each."""
    if model.likelihood == "bernoulli":
        probability = scipy.special.expit(predictor)
        return x - probability, probability * (1 - probability)
    mean = np.exp(predictor)
    if model.concentration is None:
        return x - mean, mean
    share = model.concentration / (model.concentration + mean)
    return share * (x - mean), (x + model.concentration) * share * (1 - share)
