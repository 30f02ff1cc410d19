"""The linear-Gaussian model in closed form: exact posteriors, exact log evidence, exact gaps.

Without an `amplitude` the reference model is, for each item,

    a ~ Normal(loc, scale)                                   K components
    x | a ~ Normal(loadings @ a + intercept, noise_scale)    D features, missing entries left out

so what a guide approximates is known exactly (Bishop, *Pattern Recognition and Machine Learning*,
2006, section 2.3.3). All arithmetic is NumPy float64; a missing entry of `x` is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from twinplate.data.blocks import blocks, fitting, spans
from twinplate.data.frames import items_of
from twinplate.data.stored import Matrix
from twinplate.errors import InputError
from twinplate.programs.triangle import pack_scale_tril, scale_tril_of_precision
from twinplate.words import counted

Array = npt.NDArray[np.float64]
PARAMETERS = ("loadings", "intercept", "noise_scale", "loc", "scale")
LOG_2PI = float(np.log(2 * np.pi))
MATRIX_BYTES = 2**27  # of the K × K matrices of the items whose numbers are computed at once
AT_ONCE = 4096  # items of a block


@dataclass(frozen=True)
class Gaussian:
    """One Gaussian per item: `loc` (N, K) and lower-triangular `scale_tril` (N, K, K).

    >>> import numpy as np
    >>> from twinplate import Gaussian
    >>> one = Gaussian(loc=np.zeros((1, 2)), scale_tril=np.array([[[1.0, 0.0], [1.0, 1.0]]]))
    >>> one.covariance
    array([[[1., 1.],
            [1., 2.]]])
    """

    loc: Array
    scale_tril: Array

    @property
    def covariance(self) -> Array:
        """`scale_tril @ scale_trilᵀ`, shape (N, K, K)."""
        return self.scale_tril @ self.scale_tril.mT

    @property
    def scale_tril_packed(self) -> Array:
        """The lower triangles row by row, (N, K (K + 1) / 2); `unpack_scale_tril` is the way back."""
        return pack_scale_tril(self.scale_tril)

    @property
    def correlation(self) -> Array:
        """Correlation matrices, shape (N, K, K), ones on the diagonal."""
        sd = np.sqrt(np.sum(self.scale_tril**2, axis=-1))
        return self.covariance / (sd[:, :, None] * sd[:, None, :])


@dataclass(frozen=True)
class LinearGaussian:
    """Parameters of the generative model; the closed forms are its methods.

    loadings: (D, K).  intercept: (D,).  noise_scale: (D,), > 0.  loc: (K,), of the prior.
    scale: (K,), > 0, of the prior.  A scalar stands for a vector of it.
    features: names of the D features, where they are known (`with_features`); columns of frames are found by
        them (`twinplate.data.frames`).

    Raises InputError for shapes that do not fit, for numbers that are not finite, and for scales that are
    not positive.

    >>> from twinplate import LinearGaussian
    >>> model = LinearGaussian(loadings=[[1.0], [2.0]])  # D = 2, K = 1; the other numbers are 0 and 1
    >>> model.posterior([[1.0, 2.0]]).loc  # (1 · 1 + 2 · 2) / (1 + 1 + 4)
    array([[0.83333333]])
    >>> model.log_evidence([[1.0, float("nan")]]).round(6)  # of the first feature alone: Normal(0, √2)
    array([-1.515512])
    """

    loadings: Array
    intercept: Array
    noise_scale: Array
    loc: Array
    scale: Array
    features: tuple[str, ...] = field(default=(), repr=False)

    def __init__(
        self,
        loadings: npt.ArrayLike,
        intercept: npt.ArrayLike = 0.0,
        noise_scale: npt.ArrayLike = 1.0,
        loc: npt.ArrayLike = 0.0,
        scale: npt.ArrayLike = 1.0,
    ) -> None:
        loadings = np.array(loadings, dtype=np.float64)
        if loadings.ndim != 2:
            raise InputError(
                f"loadings has shape {loadings.shape}; expected (D, K), features by components"
            )
        num_features, num_components = loadings.shape
        values = {
            "loadings": loadings,
            "intercept": _filled("intercept", intercept, num_features),
            "noise_scale": _filled("noise_scale", noise_scale, num_features),
            "loc": _filled("loc", loc, num_components),
            "scale": _filled("scale", scale, num_components),
        }
        for name, value in values.items():
            if not np.isfinite(value).all():
                raise InputError(f"{name} holds values that are not finite; expected real numbers")
            object.__setattr__(self, name, value)
        for name in ("noise_scale", "scale"):
            if not (values[name] > 0).all():
                raise InputError(
                    f"{name} has minimum {values[name].min():g}; expected positive numbers"
                )

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
        """The five parameters by name."""
        return {name: getattr(self, name) for name in PARAMETERS}

    def precision(self, x: npt.ArrayLike) -> Array:
        """Posterior precision of every item, (N, K, K): diag(scale⁻²) + Wᵀ diag(observed / noise²) W."""
        observed = ~np.isnan(self._items(x))
        weights, (d, k) = observed.astype(np.float64), self.loadings.shape
        whitened = self.loadings / self.noise_scale[:, None]
        precision = np.empty((len(observed), k, k))
        for rows in spans(k, fitting(8 * d * k, k)):  # all rows at once would take D · K² numbers
            outer = whitened[:, rows, None] * whitened[:, None, :]
            precision[:, rows] = (weights @ outer.reshape(d, -1)).reshape(len(observed), -1, k)
        precision[:, range(k), range(k)] += self.scale**-2
        return precision

    def conditional_scales(self, observed: Array) -> Array:
        """Λ_kk^-½ (K,), the width of each component given the others, of items of which a part is observed.

        observed: (D,), 0 to 1; the information of a feature counts as much.
        """
        information = (self.loadings / self.noise_scale[:, None]) ** 2
        return np.asarray((self.scale**-2 + observed @ information) ** -0.5)

    def posterior(self, x: npt.ArrayLike) -> Gaussian:
        """Exact posterior p(a | x) of every item of `x` (N, D)."""
        x = self._items(x)
        precision = self.precision(x)
        residual = np.nan_to_num(
            (x - self.intercept - self.loadings @ self.loc) / self.noise_scale**2
        )
        loc = self.loc + np.linalg.solve(precision, (residual @ self.loadings)[:, :, None])[:, :, 0]
        return Gaussian(loc, scale_tril_of_precision(precision))

    def posterior_blocks(self, x: Matrix) -> Iterator[Gaussian]:
        """`posterior` in parts of consecutive items; `x` (N, D) may be on disk."""
        for _, block in blocks(items_of(x, self.features), length=self.items_at_once()):
            yield self.posterior(block)

    def items_at_once(self) -> int:
        """How many items have MATRIX_BYTES of K × K and D × K matrices, AT_ONCE at most."""
        d, k = self.loadings.shape
        return fitting(8 * k * max(d, k), AT_ONCE, MATRIX_BYTES)

    def prior_where_empty(self, x: npt.ArrayLike, guide: Gaussian) -> Gaussian:
        """`guide` with the prior for those items of `x` (N, D) of which nothing is observed."""
        empty = np.asarray(np.isnan(self._items(x)).all(axis=1))
        if not empty.any():
            return guide
        return Gaussian(
            np.where(empty[:, None], self.loc, guide.loc),
            np.where(empty[:, None, None], np.diag(self.scale), guide.scale_tril),
        )

    def log_evidence(self, x: npt.ArrayLike) -> Array:
        """Exact log p(x) over the observed entries, shape (N,).

        Determinant by the matrix determinant lemma; the quadratic form as the least-squares minimum
        ‖(x - W m - b) / noise‖² + ‖(m - loc) / scale‖² at the posterior mean m, a sum of squares
        without cancellation.
        """
        return self._by_items(self._log_evidence, self._items(x))

    def _log_evidence(self, x: Array) -> Array:
        observed = ~np.isnan(x)
        m = self.posterior(x).loc
        misfit = np.nan_to_num((x - m @ self.loadings.T - self.intercept) / self.noise_scale)
        shift = (m - self.loc) / self.scale
        quadratic = np.sum(misfit**2, axis=1) + np.sum(shift**2, axis=1)
        log_det = (
            2 * observed @ np.log(self.noise_scale)
            + np.linalg.slogdet(self.precision(x))[1]
            + 2 * np.sum(np.log(self.scale))
        )
        return -0.5 * (quadratic + log_det + observed.sum(axis=1) * LOG_2PI)

    def kl_to_posterior(self, x: npt.ArrayLike, guide: Gaussian) -> Array:
        """KL(guide ‖ exact posterior) of every item in nats, shape (N,): what its ELBO misses."""
        x = self._items(x)
        if len(guide.loc) != len(x):
            raise InputError(
                f"the guide holds {counted(len(guide.loc), 'item')}; expected {len(x)}, those of x"
            )
        return self._by_items(self._kl_to_posterior, x, guide.loc, guide.scale_tril)

    def _kl_to_posterior(self, x: Array, loc: Array, scale_tril: Array) -> Array:
        guide = Gaussian(loc, scale_tril)
        exact, precision = self.posterior(x), self.precision(x)
        delta = guide.loc - exact.loc
        trace = np.einsum("nij,nji->n", precision, guide.covariance)
        quadratic = np.einsum("ni,nij,nj->n", delta, precision, delta)
        log_det = np.linalg.slogdet(precision)[1] + 2 * _log_diagonal(guide.scale_tril)
        return 0.5 * (trace + quadratic - self.num_components - log_det)

    def expected_elbo(self, x: npt.ArrayLike, guide: Gaussian) -> Array:
        """Exact expected ELBO of a Gaussian guide in nats, shape (N,): log evidence - KL."""
        return self.log_evidence(x) - self.kl_to_posterior(x, guide)

    def best_diagonal(self, x: npt.ArrayLike) -> Gaussian:
        """The diagonal Gaussian closest to the posterior in KL(q ‖ p): exact mean, scales Λᵢᵢ^-½."""
        precision = self.precision(x)
        sd = np.diagonal(precision, axis1=-2, axis2=-1) ** -0.5
        return Gaussian(self.posterior(x).loc, sd[:, :, None] * np.eye(self.num_components))

    def family_gap(self, x: npt.ArrayLike, covariance: str) -> Array:
        """What the best member of a family misses, in nats, shape (N,).

        covariance: "full", which misses nothing, or "diagonal", which misses ½ (Σ log Λᵢᵢ - log det Λ),
            Λ the posterior precision (Bishop, 2006, section 10.1.2: the optimal factor keeps the
            conditional precision Λᵢᵢ).

        Raises InputError for "low-rank", whose optimum has no closed form.
        """
        if covariance == "full":
            return np.zeros(len(self._items(x)))
        if covariance == "diagonal":
            return self._by_items(self._diagonal_gap, self._items(x))
        raise InputError(
            f"covariance {covariance!r} has no family gap in closed form; expected 'full' or 'diagonal'"
        )

    def _diagonal_gap(self, x: Array) -> Array:
        precision = self.precision(x)
        diagonal = np.diagonal(precision, axis1=-2, axis2=-1)
        return 0.5 * (np.sum(np.log(diagonal), axis=1) - np.linalg.slogdet(precision)[1])

    def reconstruct(self, guide: Gaussian) -> tuple[Array, Array]:
        """Predictive mean and standard deviation of every feature given a posterior, both (N, D)."""
        mean = guide.loc @ self.loadings.T + self.intercept
        spread = np.sum((self.loadings @ guide.scale_tril) ** 2, axis=-1)
        return mean, np.sqrt(spread + self.noise_scale**2)

    def simulate(self, num_items: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Draw `x` (N, D) and `a` (N, K) from the model."""
        a = self.loc + self.scale * rng.standard_normal((num_items, self.num_components))
        return self.measure(a, rng), a

    def measure(self, a: Array, rng: np.random.Generator) -> Array:
        """Draw `x` (..., N, D) of items with latents `a` (..., N, K)."""
        mean = a @ self.loadings.T + self.intercept
        return np.asarray(mean + self.noise_scale * rng.standard_normal(mean.shape))

    def log_density(self, x: Array, a: Array) -> Array:
        """log p(x | a) (..., N, D), entry by entry, of latents (..., N, K); NaN where `x` (N, D) is."""
        misfit = (x - a @ self.loadings.T - self.intercept) / self.noise_scale
        return np.asarray(-0.5 * (misfit**2 + LOG_2PI) - np.log(self.noise_scale))

    def _by_items(self, number: Callable[..., Array], *values: Array) -> Array:
        """`number(*values)`, (N,), of as many items at once as have MATRIX_BYTES of K × K matrices."""
        num_items = len(values[0])
        length = fitting(8 * self.num_components**2, num_items, MATRIX_BYTES)
        parts = (number(*(v[rows] for v in values)) for rows in spans(num_items, length))
        return np.concatenate([np.zeros(0), *parts])

    def _items(self, x: npt.ArrayLike) -> Array:
        x = np.asarray(items_of(x, self.features), dtype=np.float64)
        if x.ndim != 2 or x.shape[1] != self.num_features:
            raise InputError(
                f"x has shape {x.shape}; expected (N, D) with D = {self.num_features} as in loadings (D, K)"
            )
        return x


def placed(parts: Iterable[Gaussian]) -> Iterator[tuple[slice, Gaussian]]:
    """Each part, of consecutive items, with the rows of these."""
    done = 0
    for part in parts:
        yield slice(done, done + len(part.loc)), part
        done += len(part.loc)


def _filled(name: str, value: npt.ArrayLike, size: int) -> Array:
    value = np.asarray(value, dtype=np.float64)
    if value.shape not in ((), (1,), (size,)):
        raise InputError(f"{name} has shape {value.shape}; expected ({size},) or a scalar")
    return np.array(np.broadcast_to(value, (size,)))


def _log_diagonal(tril: Array) -> Any:
    return np.sum(np.log(np.abs(np.diagonal(tril, axis1=-2, axis2=-1))), axis=-1)
