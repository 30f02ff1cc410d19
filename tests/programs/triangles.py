"""Lower triangles from their numbers, one entry after the other."""

import numpy as np


def filled(scale, lower):
    """The triangle, one entry after the other."""
    k = scale.shape[-1]
    batch = np.broadcast_shapes(scale.shape[:-1], lower.shape[:-1])
    tril = np.zeros((*batch, k, k))
    rest = iter(np.moveaxis(lower, -1, 0))
    for i in range(k):
        tril[..., i, i] = scale[..., i]
        for j in range(i if lower.shape[-1] else 0):
            tril[..., i, j] = next(rest)
    return tril
