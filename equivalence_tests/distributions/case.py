"""One row of the table of distributions as data: who builds it, its points, and its judge.

Points are drawn by NumPy alone: every point has parameters of its own. The helpers below are the
usual ranges; each gives a `Draw`, which may depend on the parameters drawn before it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Params = dict[str, Array]
Draw = Callable[[np.random.Generator, Params], Array]
Build = Callable[[Any, dict[str, Any]], Any]

BATCHES, SIZE = 4, 25
DIM = 3


@dataclass(frozen=True, eq=False)
class DistributionCase:
    """A family under one parametrisation.

    family: Pyro's name.  params: how every parameter is drawn, by Pyro's keyword, in this order.
    value: how the points are drawn.  density: log density in mpmath, of (x, **params).
    extreme: what is drawn otherwise in the extreme setting, "value" included.  words: that setting.
    fixed: parameters without a gradient.  simplex: those whose gradient is compared along the simplex.
    build: of (the library's `distributions`, arrays); by default the family called with the params.
    second: NumPyro's, where it differs.  note: what the row's label adds.
    """

    family: str
    params: dict[str, Draw]
    value: Draw
    density: Callable[..., Any]
    extreme: dict[str, Draw]
    words: str
    fixed: tuple[str, ...] = ()
    simplex: tuple[str, ...] = ()
    build: Build | None = None
    second: Build | None = None
    note: str = ""

    @property
    def label(self) -> str:
        """The parametrisation, as the table shows it."""
        return (", ".join(self.params) or "none") + self.note

    def pyro(self, distributions: Any, params: dict[str, Any]) -> Any:
        """Pyro's distribution at these parameters."""
        build = self.build or (lambda library, given: getattr(library, self.family)(**given))
        return build(distributions, params)

    def numpyro(self, distributions: Any, params: dict[str, Any]) -> Any:
        """NumPyro's distribution at these parameters."""
        return (self.second or self.pyro)(distributions, params)

    def points(self, extreme: bool) -> Points:
        """The points of one setting; equal calls give equal points."""
        draws = {**self.params, "value": self.value, **(self.extreme if extreme else {})}
        rows: dict[str, list[Array]] = {name: [] for name in draws}
        for batch in range(BATCHES):
            rng = np.random.default_rng([zlib.crc32(self.family.encode()), batch])
            drawn: Params = {}
            for name, draw in draws.items():
                drawn[name] = draw(rng, drawn)
                rows[name].append(drawn[name])
        arrays = {name: np.concatenate(parts) for name, parts in rows.items()}
        return Points(arrays.pop("value"), arrays)


@dataclass(frozen=True)
class Points:
    """Values (BATCHES * SIZE, *event) and parameters, (BATCHES * SIZE, …) each."""

    value: Array
    params: Params = field(default_factory=dict)


def real(scale: float = 2.0, *shape: int) -> Draw:
    """Normal numbers around zero, (SIZE, *shape)."""
    return lambda rng, _: rng.normal(0.0, scale, (SIZE, *shape))


def positive(low: float = 0.2, high: float = 8.0, *shape: int) -> Draw:
    """Positive numbers, uniform on the log scale, (SIZE, *shape)."""
    return lambda rng, _: np.exp(rng.uniform(np.log(low), np.log(high), (SIZE, *shape)))


def between(low: float = 0.02, high: float = 0.98, *shape: int) -> Draw:
    """Numbers uniform between the two, (SIZE, *shape)."""
    return lambda rng, _: rng.uniform(low, high, (SIZE, *shape))


def either_sign(low: float, high: float) -> Draw:
    """Uniform absolute values, half of them negative."""
    return lambda rng, _: rng.choice([-1.0, 1.0], SIZE) * rng.uniform(low, high, SIZE)


def near_zero_or_one(smallest: float) -> Draw:
    """Probabilities down to `smallest` and, in double precision, as near to 1."""

    def draw(rng: np.random.Generator, _: Params) -> Array:
        tail = np.exp(rng.uniform(np.log(smallest), np.log(1e-3), SIZE))
        return np.where(rng.random(SIZE) < 0.5, tail, 1.0 - np.maximum(tail, 1e-15))

    return draw


def integers(low: int, high: int, *shape: int) -> Draw:
    """Integers from `low` to `high`."""
    return lambda rng, _: rng.integers(low, high + 1, (SIZE, *shape))


def up_to(total: str) -> Draw:
    """Integers from 0 to the parameter of that name."""
    return lambda rng, p: rng.integers(0, p[total] + 1)


def simplex(concentration: float, size: int = DIM) -> Draw:
    """Probability vectors (SIZE, size)."""
    return lambda rng, _: rng.dirichlet(np.full(size, concentration), SIZE)


def small_probability(smallest: float) -> Draw:
    """Probability vectors (SIZE, DIM) whose first entry goes down to `smallest`."""

    def draw(rng: np.random.Generator, _: Params) -> Array:
        probs = rng.dirichlet(np.full(DIM, 3.0), SIZE)
        probs[:, 0] *= np.exp(rng.uniform(np.log(smallest), 0.0, SIZE))
        return probs / probs.sum(-1, keepdims=True)

    return draw


def angle(*shape: int) -> Draw:
    """Angles (SIZE, *shape) within ±3.1."""
    return between(-3.1, 3.1, *shape)


def direction(size: int) -> Draw:
    """Unit vectors (SIZE, size)."""

    def draw(rng: np.random.Generator, _: Params) -> Array:
        x = rng.normal(size=(SIZE, size))
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    return draw


def covariance(condition: float = 20.0) -> Draw:
    """Symmetric matrices (SIZE, DIM, DIM) of the given condition number."""

    def draw(rng: np.random.Generator, _: Params) -> Array:
        basis = np.linalg.qr(rng.normal(size=(SIZE, DIM, DIM)))[0]
        matrices = (basis * np.geomspace(1.0, 1.0 / condition, DIM)) @ np.swapaxes(basis, -1, -2)
        return (matrices + np.swapaxes(matrices, -1, -2)) / 2

    return draw


def tril(condition: float = 20.0) -> Draw:
    """Cholesky factors of `covariance`."""
    return lambda rng, p: np.linalg.cholesky(covariance(condition)(rng, p))


def correlation(rng: np.random.Generator, params: Params) -> Array:
    """Correlation matrices (SIZE, DIM, DIM)."""
    matrices = covariance()(rng, params)
    scale = np.sqrt(np.diagonal(matrices, axis1=-2, axis2=-1))
    matrices = matrices / scale[..., None] / scale[..., None, :]
    matrices[:, range(DIM), range(DIM)] = 1.0
    return matrices


def about(centre: Callable[[Params], Array], spread: Callable[[Params], Array]) -> Draw:
    """Normal numbers with mean and standard deviation from the parameters; positive for positive means."""
    return lambda rng, p: np.abs(centre(p) + spread(p) * rng.normal(size=centre(p).shape))


def counts(total: int) -> Draw:
    """Counts (SIZE, DIM) with that sum, of equally likely categories."""
    return lambda rng, _: rng.multinomial(total, np.full(DIM, 1 / DIM), SIZE)
