"""Real images for the demo: scikit-learn's digits, a hidden block in each, and a dictionary of parts.

Everything comes from the installed package: 1,797 handwritten digits of 8 × 8 pixels, grey levels 0
to 16.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twinplate.extras import import_extra
from twinplate.programs.linear_gaussian import Array, LinearGaussian
from twinplate.seeds import generator

SIDE = 8  # pixels of an image's side
BLOCK = 4  # pixels of the hidden block's side
PARTS = 16  # K
LEAST_NOISE = 0.5  # grey levels; pixels at the border that are almost always 0 need one


@dataclass(frozen=True, eq=False)
class Digits:
    """N images without their constant pixels, and which pixels of each are hidden.

    `complete` (N, D) grey levels; `hidden` (N, D) and `kept` (SIDE²,) booleans, D = kept.sum();
    `label` (N,) the digit drawn; `corner` (N, 2) row and column of the hidden block's first pixel.
    """

    complete: Array
    hidden: npt.NDArray[np.bool_]
    kept: npt.NDArray[np.bool_]
    label: npt.NDArray[np.int64]
    corner: npt.NDArray[np.int64]

    @property
    def x(self) -> Array:
        """What the programs see, (N, D): NaN where hidden."""
        return np.where(self.hidden, np.nan, self.complete)

    def image(self, values: npt.ArrayLike, fill: float = 0.0) -> Array:
        """Values of the kept pixels (..., D) as images (..., SIDE, SIDE); `fill` at the others."""
        values = np.asarray(values)
        flat = np.full((*values.shape[:-1], SIDE**2), fill)
        flat[..., self.kept] = values
        return flat.reshape(*values.shape[:-1], SIDE, SIDE)


def load_digits(seed: int = 0) -> Digits:
    """The digits with one block of BLOCK × BLOCK pixels hidden in each, at a place drawn from `seed`.

    Raises InputError, naming the extra, where scikit-learn is missing.
    """
    bunch = import_extra("sklearn.datasets", "scikit-learn").load_digits()
    flat = np.asarray(bunch.data, dtype=np.float64)
    kept = np.ptp(flat, axis=0) > 0
    places = SIDE - BLOCK + 1
    corner = generator(seed, "hidden").integers(places, size=(len(flat), 2))
    hidden = hidden_blocks(corner).reshape(len(flat), -1)[:, kept]
    return Digits(flat[:, kept], hidden, kept, np.asarray(bunch.target, dtype=np.int64), corner)


def hidden_blocks(corner: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which pixels the blocks with these first pixels (N, 2) cover, (N, SIDE, SIDE)."""
    rows, columns = ((np.arange(SIDE) - corner[:, [i]]) for i in (0, 1))
    return ((rows >= 0) & (rows < BLOCK))[:, :, None] & ((columns >= 0) & (columns < BLOCK))[
        :, None, :
    ]


def dictionary(digits: Digits) -> LinearGaussian:
    """PARTS overlapping parts, fixed for all programs: a factor analysis of the complete images.

    Factor analysis is this very model with maximum-likelihood loadings and noise, and a standard
    normal prior. The likelihood leaves the rotation free; varimax (Kaiser, 1958) takes the one in
    which every part covers few pixels, and the sign is the one that makes most of it ink. Such parts
    are not orthogonal in the metric of the noise.
    """
    decomposition = import_extra("sklearn.decomposition", "scikit-learn")
    analysis = decomposition.FactorAnalysis(PARTS, rotation="varimax", svd_method="lapack")
    analysis.fit(digits.complete)
    loadings = analysis.components_.T
    return LinearGaussian(
        loadings=loadings * np.sign(np.sum(loadings**3, axis=0)),
        intercept=analysis.mean_,
        noise_scale=np.maximum(np.sqrt(analysis.noise_variance_), LEAST_NOISE),
    )


def cosines(generative: LinearGaussian) -> Array:
    """Cosines of the angles between the parts in the metric of the noise, (K, K); 0 is orthogonal."""
    whitened = generative.loadings / generative.noise_scale[:, None]
    whitened = whitened / np.linalg.norm(whitened, axis=0)
    return whitened.T @ whitened
