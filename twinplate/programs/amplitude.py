"""The evidence of a model with an amplitude, by quadrature over it.

Given the amplitude e^(s z), z ~ Normal(0, 1), the model is linear-Gaussian, with loadings e^(s z) W and a
log evidence in closed form. What is left is one integral of a smooth function that dies away fast on both
sides, and for these the trapezoidal rule converges faster than any power of the step (Trefethen and Weideman,
*SIAM Review* 56, 2014).
"""

from __future__ import annotations

import numpy as np
import scipy

from twinplate.errors import InputError
from twinplate.programs.linear_gaussian import LOG_2PI, Array, LinearGaussian

FAR = 9.0  # standard deviations of log amplitude on both sides; beyond lies 1e-19 of the prior
POINTS = 64  # of the first rule; each further one has twice as many, and takes those of the last one again
MOST = 2**13
TOLERANCE = 1e-9  # nats between one rule and the next


def log_evidence_with_amplitude(model: LinearGaussian, scale: float, x: Array) -> Array:
    """log p(x) of the observed entries of every item (N,), to about TOLERANCE.

    scale: prior standard deviation of the log amplitude.

    Raises InputError where MOST points are not enough: the amplitude is known too precisely.
    """
    step = 2 * FAR / POINTS
    total = _log_sum(model, scale, x, np.linspace(-FAR, FAR, POINTS + 1))
    found = total + np.log(step)
    while 2 * FAR / step < MOST:
        between = np.arange(-FAR + step / 2, FAR, step, dtype=np.float64)
        total = np.logaddexp(total, _log_sum(model, scale, x, between))
        step /= 2
        before, found = found, total + np.log(step)
        if np.all(np.abs(found - before) < TOLERANCE):
            return found
    raise InputError(
        f"the evidence needs more than {MOST} values of the amplitude: given an item, it is known too "
        "precisely; expected a prior of `a` whose scale is not far below its loc"
    )


def _log_sum(model: LinearGaussian, scale: float, x: Array, points: Array) -> Array:
    """log Σ p(x | z) p(z) over the points z."""
    values = model.as_dict()
    terms = [
        LinearGaussian(**{**values, "loadings": np.exp(scale * z) * model.loadings}).log_evidence(x)
        - 0.5 * (z**2 + LOG_2PI)
        for z in points
    ]
    return np.asarray(scipy.special.logsumexp(terms, axis=0))
