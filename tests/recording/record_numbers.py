"""Data and closed forms that the tests of records compare with, whichever framework made the record."""

from __future__ import annotations

import numpy as np
from scipy import stats

NORMAL = stats.norm.logpdf
X = np.array([0.3, -1.2, 2.0])


def numeric(path, *params, step=1e-6):
    """Central differences of `path(*params).sum()` in every entry of every parameter."""
    gradients = []
    for i, param in enumerate(params):
        gradient = np.zeros_like(param)
        for index in np.ndindex(param.shape):
            ends = []
            for sign in (1, -1):
                moved = [p.copy() for p in params]
                moved[i][index] += sign * step
                ends.append(np.sum(path(*moved)))
            gradient[index] = (ends[0] - ends[1]) / (2 * step)
        gradients.append(gradient)
    return gradients
