"""Simulated images of a particle whose parts move, for `images_pyro.py` and `images_numpyro.py`."""

from dataclasses import dataclass

import numpy as np

SIDE, K, NOISE = 16, 3, 0.5
_y, _x = np.mgrid[:SIDE, :SIDE] / (SIDE - 1)


def _blob(x, y, width):
    return np.exp(-((_x - x) ** 2 + (_y - y) ** 2) / (2 * width**2)).ravel()


_ARMS = [(0.3, 0.3), (0.72, 0.4), (0.45, 0.75)]  # around the body
PARTICLE = _blob(0.5, 0.5, 0.18) + sum(0.8 * _blob(x, y, 0.1) for x, y in _ARMS)
_swings = np.stack(  # how the pixels change as an arm swings outwards, to first order
    [_blob(x + 0.4 * (x - 0.5), y + 0.4 * (y - 0.5), 0.1) - _blob(x, y, 0.1) for x, y in _ARMS],
    1,
)
# Components are not arms: neighbouring ones share an arm, and so does the particle's brightness.
PARTS = 0.6 * _swings @ np.array([[1.0, 0.8, 0.0], [0.0, 0.8, 0.8], [0.3, 0.0, 0.8]])  # (D, K)


@dataclass(frozen=True)
class Images:
    """Noisy pixels (N, D), the clean ones, and the true components (N, K) and contrast (N,)."""

    pixels: np.ndarray
    clean: np.ndarray
    a: np.ndarray
    contrast: np.ndarray


def simulate(n, seed):
    """Images of `n` particles."""
    rng = np.random.default_rng(seed)
    a, contrast = rng.normal(size=(n, K)), np.exp(0.3 * rng.normal(size=n))
    clean = contrast[:, None] * (PARTICLE + a @ PARTS.T)
    return Images(clean + NOISE * rng.normal(size=clean.shape), clean, a, contrast)


train_images, new_images = simulate(4000, 0), simulate(200, 1)
