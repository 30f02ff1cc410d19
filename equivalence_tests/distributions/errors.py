"""How far the two libraries' log densities and gradients are apart in a case, and who is wrong.

Both evaluate every point in float64; mpmath, in 100 digits, judges the points where they differ most.
Differences and errors are relative to max(1, |value|); a gradient's |value| is its largest entry at
that point. Zero where both agree, also on -inf; infinite where one is not finite or either is NaN.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as ndist
import pyro.distributions as pdist
import torch
from mpmath import mp, mpf

from equivalence_tests.distributions.bounded_cases import ANGLES, INTERVALS
from equivalence_tests.distributions.case import Array, DistributionCase, Points
from equivalence_tests.distributions.count_cases import CATEGORIES, COUNTS, ZERO_INFLATED
from equivalence_tests.distributions.matrix_cases import MATRICES, VECTORS
from equivalence_tests.distributions.univariate_cases import POSITIVE, REAL_LINE

CASES = [
    *REAL_LINE,
    *POSITIVE,
    *INTERVALS,
    *ANGLES,
    *VECTORS,
    *MATRICES,
    *CATEGORIES,
    *COUNTS,
    *ZERO_INFLATED,
]
EXACT = 1e-12
JUDGED = 2  # points of the largest differences that mpmath judges, and as many at regular distances


@dataclass(frozen=True)
class Answer:
    """Log densities (n,) and gradients by parameter (n, …); `families` as `families_of` gives them."""

    families: tuple[str, ...]
    log_prob: Array
    gradient: dict[str, Array]


@dataclass(frozen=True)
class Errors:
    """Largest difference, and the largest error of either against mpmath, of one quantity."""

    difference: float = 0.0
    pyro: float = 0.0
    numpyro: float = 0.0

    @property
    def flagged(self) -> bool:
        """Whether the libraries differ by more than rounding, or both are wrong alike."""
        return max(self.difference, self.pyro, self.numpyro) > EXACT

    @property
    def inaccurate(self) -> tuple[str, ...]:
        """Who is further from the truth than rounding."""
        sides = {"pyro": self.pyro, "numpyro": self.numpyro}
        return tuple(name for name, error in sides.items() if error > EXACT)


@dataclass(frozen=True)
class CaseErrors:
    """One case in one setting; `gradient` is None where nothing is differentiated.

    families: of both libraries, as `families_of` gives them.
    """

    case: DistributionCase
    extreme: bool
    families: tuple[tuple[str, ...], tuple[str, ...]]
    density: Errors
    gradient: Errors | None


def measure_errors(case: DistributionCase, extreme: bool) -> CaseErrors:
    """Evaluate the case in both libraries and judge them."""
    points = case.points(extreme)
    first, second = in_pyro(case, points), in_numpyro(case, points)
    difference = apart(first.log_prob, second.log_prob)
    slopes = {n: apart(g, second.gradient[n]) for n, g in first.gradient.items()}
    steepest = np.max(list(slopes.values()) or [np.zeros_like(difference)], axis=0)
    judged = {i for d in (difference, steepest) for i in np.argsort(-d, kind="stable")[:JUDGED]}
    judged |= set(range(0, len(difference), len(difference) // JUDGED))
    truth = exact(case, points, sorted(judged))
    families = (first.families, second.families)
    density = errors(difference, *(distances(a.log_prob, truth.log_prob) for a in (first, second)))
    if not slopes:
        return CaseErrors(case, extreme, families, density, None)
    errors_of = [
        np.max([distances(a.gradient[n], t) for n, t in truth.gradient.items()], axis=0)
        for a in (first, second)
    ]
    return CaseErrors(case, extreme, families, density, errors(steepest, *errors_of))


def errors(difference: Array, first: Array, second: Array) -> Errors:
    """The largest difference, and the largest error of either library."""
    return Errors(*(float(np.max(d)) for d in (difference, first, second)))


def apart(a: Array, b: Array) -> Array:
    """Difference at every point (n,) of values or of one parameter's gradient (n, …)."""
    a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)
    with np.errstate(invalid="ignore", over="ignore"):
        difference = np.where(a == b, 0.0, np.abs(a - b)).max(-1)
        size = np.maximum(np.abs(a).max(-1), np.abs(b).max(-1))
        relative = difference / np.maximum(1.0, size)
    return np.where(np.isnan(relative), np.inf, relative)


def distances(values: Array, truth: dict[int, Any]) -> Array:
    """Error at every judged point, in mpmath: (number of points,)."""
    return np.array([distance(values[i].reshape(-1), t) for i, t in truth.items()])


def distance(values: Array, truth: list[Any]) -> float:
    """Largest error of the numbers `values` against `truth`, relative to max(1, largest |truth|)."""
    if not np.isfinite(values).all():
        return np.inf
    size = max(mpf(1), *(abs(t) for t in truth))
    return float(max(abs(mpf(float(v)) - t) for v, t in zip(values, truth, strict=True)) / size)


def along_simplex(gradient: Array, probs: Array) -> Array:
    """Gradient in logits of which `probs` are the softmax: the same whether probs are normalised."""
    with np.errstate(invalid="ignore", over="ignore"):
        return probs * (gradient - (probs * gradient).sum(-1, keepdims=True))


def in_pyro(case: DistributionCase, points: Points) -> Answer:
    """Pyro's answer."""

    def tensor(values: Array) -> torch.Tensor:
        return torch.tensor(values if values.dtype == bool else np.asarray(values, np.float64))

    params = {n: tensor(v).requires_grad_(n not in case.fixed) for n, v in points.params.items()}
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # of the constants that families make for themselves
    try:
        fn = case.pyro(pdist, params)
        log_prob = fn.log_prob(tensor(points.value))
    finally:
        torch.set_default_dtype(default)
    free = {n: p for n, p in params.items() if p.requires_grad}
    slopes = (
        torch.autograd.grad(log_prob.sum(), list(free.values()), materialize_grads=True)
        if free
        else ()
    )
    gradient = {n: g.numpy() for n, g in zip(free, slopes, strict=True)}
    return answer(case, points, families_of(fn), log_prob.detach().numpy(), gradient)


def in_numpyro(case: DistributionCase, points: Points) -> Answer:
    """NumPyro's answer, compiled, as inference compiles it."""
    with jax.enable_x64(True):
        params = {n: jnp.asarray(v) for n, v in points.params.items()}
        fixed = {n: params.pop(n) for n in case.fixed}
        names, log_prob, gradient = compiled(case)(params, fixed, jnp.asarray(points.value))
    return answer(case, points, names, np.asarray(log_prob), jax.tree.map(np.asarray, gradient))


@functools.cache
def compiled(case: DistributionCase) -> Callable[..., tuple[tuple[str, ...], Any, Any]]:
    """The case's function of (free, fixed, value), compiled once for both settings."""
    families = []

    def total(free: Any, fixed: Any, value: Any) -> Any:
        fn = case.numpyro(ndist, {n: {**free, **fixed}[n] for n in case.params})
        families.append(families_of(fn))
        log_prob = fn.log_prob(value)
        return log_prob.sum(), log_prob

    evaluate = jax.jit(jax.value_and_grad(total, has_aux=True))

    def call(free: Any, fixed: Any, value: Any) -> tuple[tuple[str, ...], Any, Any]:
        (_, log_prob), gradient = evaluate(free, fixed, value)
        return families[0], log_prob, gradient

    return call


def answer(
    case: DistributionCase,
    points: Points,
    families: tuple[str, ...],
    log_prob: Array,
    gradient: dict[str, Array],
) -> Answer:
    """With gradients only where parameters can go: along the simplex, in the lower triangle."""
    for n in gradient:
        if n in case.simplex:
            gradient[n] = along_simplex(gradient[n], points.params[n])
        elif n == "scale_tril":
            gradient[n] = np.tril(gradient[n])
    return Answer(families, log_prob, gradient)


def families_of(fn: Any) -> tuple[str, ...]:
    """Class of a distribution without the wrappers that leave its values alone; that of a base inside it."""
    wrappers = ("Independent", "MaskedDistribution", "ExpandedDistribution")
    while type(fn).__name__ in wrappers:
        fn = fn.base_dist
    own = type(fn).__name__
    return (own, *families_of(fn.base_dist)) if own.startswith("ZeroInflated") else (own,)


@dataclass(frozen=True)
class Truth:
    """Numbers of the judged points: {point: list of mpf}, for the gradient by parameter."""

    log_prob: dict[int, Any]
    gradient: dict[str, dict[int, Any]]


@mp.workdps(100)
def exact(case: DistributionCase, points: Points, judged: list[int]) -> Truth:
    """Log density and its derivatives at some points by mpmath."""
    free = [n for n in points.params if n not in case.fixed]
    truth = Truth({}, {n: {} for n in free})
    for i in judged:
        value = precise(points.value[i])
        params = {n: precise(v[i]) for n, v in points.params.items()}
        truth.log_prob[i] = [case.density(value, **params)]
        for name in free:
            truth.gradient[name][i] = slopes(case, value, params, name)
    return truth


def slopes(case: DistributionCase, value: Any, params: dict[str, Any], name: str) -> list[Any]:
    """Derivatives in one parameter, along the simplex where it lies on one."""
    found = derivatives(lambda p: case.density(value, **{**params, name: p}), params[name])
    if name in case.simplex:
        mean = sum(p * g for p, g in zip(params[name], found, strict=True))
        found = [p * (g - mean) for p, g in zip(params[name], found, strict=True)]
    return found


def precise(values: Array) -> Any:
    """One point's numbers in mpmath: a number, a list or a matrix."""
    if values.ndim == 2:
        return mp.matrix([[mpf(float(v)) for v in row] for row in values])
    return [mpf(float(v)) for v in values] if values.ndim else mpf(float(values))


def derivatives(function: Callable[[Any], Any], at: Any) -> list[Any]:
    """Partial derivative in every entry of a number, list or matrix, in row order."""
    if not isinstance(at, list | mp.matrix):
        return [slope(function, at)]
    found = []
    indices = (
        range(len(at))
        if isinstance(at, list)
        else itertools.product(range(at.rows), range(at.cols))
    )
    for index in indices:

        def moved(entry: Any, index: Any = index) -> Any:
            changed = at.copy()
            changed[index] = entry
            return function(changed)

        found.append(slope(moved, at[index]))
    return found


def slope(function: Callable[[Any], Any], at: Any) -> Any:
    """Central difference; relative step 1e-28, so that even beside 1 - 1e-15 it is exact."""
    step = mpf(10) ** -28 * (abs(at) or 1)
    return (function(at + step) - function(at - step)) / (2 * step)
