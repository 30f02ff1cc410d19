"""The model of counts and of zeros and ones: a generalised linear model with latent covariates.

For each item, with an offset o of its own or 1,

    a ~ Normal(loc, scale)                               K components
    x | a ~ likelihood of η = loadings @ a + intercept + log o      D features, missing entries left out

(Skrondal and Rabe-Hesketh, *Generalized Latent Variable Modeling*, 2004). Its evidence and posterior have no
closed form; `twinplate.programs.importance` bounds the one by draws from a guide.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import numpy.typing as npt

from twinplate.data.frames import items_of
from twinplate.errors import InputError
from twinplate.programs.likelihood import draw, log_density
from twinplate.programs.linear_gaussian import LOG_2PI, Array, LinearGaussian


@dataclass(frozen=True)
class GeneralisedLinear:
    """Parameters of the generative model of a likelihood other than the normal one.

    likelihood: "poisson", "negative-binomial" or "bernoulli".  loadings: (D, K).  intercept: (D,).
    loc, scale: (K,), of the prior.  A scalar stands for a vector of it.
    concentration: (D,), > 0, of the negative binomial, whose variance is mean + mean² / concentration; else
        None.
    features: as of `LinearGaussian`.

    Raises InputError for shapes that do not fit, and for numbers that are not finite or not positive.

    >>> import numpy as np
    >>> from twinplate import GeneralisedLinear
    >>> model = GeneralisedLinear("poisson", loadings=[[1.0], [2.0]])  # D = 2, K = 1
    >>> model.log_joint([[0, 3]], np.zeros((1, 1))).round(4)  # two means of 1, and the prior at 0
    array([-4.7107])
    """

    likelihood: str
    loadings: Array
    intercept: Array
    loc: Array
    scale: Array
    concentration: Array | None
    features: tuple[str, ...] = field(default=(), repr=False)

    def __init__(
        self,
        likelihood: str,
        loadings: npt.ArrayLike,
        intercept: npt.ArrayLike = 0.0,
        loc: npt.ArrayLike = 0.0,
        scale: npt.ArrayLike = 1.0,
        concentration: npt.ArrayLike | None = None,
    ) -> None:
        checked = LinearGaussian(loadings, intercept, 1.0, loc, scale)
        for name in ("loadings", "intercept", "loc", "scale"):
            object.__setattr__(self, name, getattr(checked, name))
        if (concentration is not None) != (likelihood == "negative-binomial"):
            raise InputError(
                f"concentration is {concentration!r} with likelihood {likelihood!r}; expected positive "
                "numbers with 'negative-binomial', and None with any other"
            )
        if concentration is not None:
            concentration = _positive(concentration, len(checked.loadings))
        object.__setattr__(self, "likelihood", likelihood)
        object.__setattr__(self, "concentration", concentration)

    @property
    def num_features(self) -> int:
        """D."""
        return self.loadings.shape[0]

    @property
    def num_components(self) -> int:
        """K."""
        return self.loadings.shape[1]

    def with_features(self, features: tuple[str, ...]) -> Self:
        """The same model with names of its D features; columns of frames are found by them."""
        named = copy(self)
        object.__setattr__(named, "features", features)
        return named

    def as_dict(self) -> dict[str, Array]:
        """The arrays by name."""
        names = ("loadings", "intercept", "loc", "scale", "concentration")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def predictor(self, a: Array, offsets: Array | None = None) -> Array:
        """η (..., N, D) of latents `a` (..., N, K) of items with these offsets (N,)."""
        eta = a @ self.loadings.T + self.intercept
        return eta if offsets is None else eta + np.log(offsets)[:, None]

    def log_density(self, x: Array, a: Array, offsets: Array | None = None) -> Array:
        """log p(x | a) (..., N, D), entry by entry, of latents (..., N, K); NaN where `x` (N, D) is."""
        seen, eta = ~np.isnan(x), self.predictor(a, offsets)
        found = log_density(self.likelihood, np.where(seen, x, 0.0), eta, self.concentration)
        return np.where(seen, found, np.nan)

    def measure(self, a: Array, rng: np.random.Generator, offsets: Array | None = None) -> Array:
        """Draw `x` (..., N, D) of items with latents `a` (..., N, K), whole numbers as float64."""
        return draw(self.likelihood, self.predictor(a, offsets), self.concentration, rng)

    def log_joint(self, x: npt.ArrayLike, a: Array, offsets: Array | None = None) -> Array:
        """log p(x, a) (..., N) of the observed entries of `x` (N, D) and latents `a` (..., N, K)."""
        items = np.asarray(items_of(x, self.features), np.float64)
        entries = self.log_density(items, a, offsets)
        return np.asarray(np.nansum(entries, -1) + self.log_prior(a))

    def log_prior(self, a: Array) -> Array:
        """log p(a) (...) of latents (..., K)."""
        z = (a - self.loc) / self.scale
        return np.asarray(-0.5 * np.sum(z**2 + LOG_2PI + 2 * np.log(self.scale), axis=-1))

    def simulate(
        self, num_items: int, rng: np.random.Generator, offsets: Array | None = None
    ) -> tuple[Array, Array]:
        """Draw `x` (N, D), whole numbers as float64, and `a` (N, K) from the model."""
        a = self.loc + self.scale * rng.standard_normal((num_items, self.num_components))
        return self.measure(a, rng, offsets), a


def _positive(concentration: npt.ArrayLike, size: int) -> Array:
    found = np.asarray(concentration, np.float64)
    if found.shape not in ((), (1,), (size,)):
        raise InputError(f"concentration has shape {found.shape}; expected ({size},) or a scalar")
    if not (np.isfinite(found) & (found > 0)).all():
        raise InputError(f"concentration has minimum {found.min():g}; expected positive numbers")
    return np.array(np.broadcast_to(found, (size,)))
