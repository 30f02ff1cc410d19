"""Special functions of torch and JAX, their values and derivatives, against mpmath.

Those that distributions and divergences are made of. Errors are relative, at `POINTS` points in each range.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax.scipy import special
from mpmath import mp, mpf

from equivalence_tests.distributions.errors import slope

POINTS = 12
NEGATIVE = (-20.0, -0.05)


@dataclass(frozen=True)
class FunctionCase:
    """A function in both libraries and in mpmath, and the ranges of its argument."""

    name: str
    torch: Callable[..., Any]
    jax: Callable[..., Any]
    exact: Callable[[Any], Any]
    ranges: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class FunctionErrors:
    """Largest relative error of the value and of the derivative in one range, by library."""

    case: FunctionCase
    range: tuple[float, float]
    torch: tuple[float, float]
    jax: tuple[float, float]


def _digammas(order: int) -> Callable[[Any], Any]:
    return lambda x: mp.polygamma(order, x)


def _scaled_bessel(order: int) -> Callable[[Any], Any]:
    return lambda x: mp.besseli(order, x) * mp.exp(-x)


FUNCTIONS = (
    FunctionCase("lgamma", torch.lgamma, special.gammaln, mp.loggamma, ((0.001, 0.9), (2.5, 1e4))),
    FunctionCase("digamma", torch.digamma, special.digamma, mp.digamma, ((0.001, 0.9), (2, 1e4))),
    FunctionCase(
        "polygamma(1, ·)",
        lambda x: torch.polygamma(1, x),
        lambda x: special.polygamma(1, x),
        _digammas(1),
        ((0.001, 0.9), (2, 1e4)),
    ),
    FunctionCase(
        "polygamma(2, ·)",
        lambda x: torch.polygamma(2, x),
        lambda x: special.polygamma(2, x),
        _digammas(2),
        ((0.1, 0.9), (2, 100)),
    ),
    FunctionCase(
        "betaln(·, 3)",
        lambda x: torch.lgamma(x) + torch.lgamma(torch.full_like(x, 3.0)) - torch.lgamma(x + 3),
        lambda x: special.betaln(x, 3.0),
        lambda x: mp.log(mp.beta(x, 3)),
        ((0.1, 0.9), (9, 100)),
    ),
    FunctionCase("erf", torch.erf, special.erf, mp.erf, ((0.01, 4),)),
    FunctionCase("erfc", torch.erfc, special.erfc, mp.erfc, ((0.01, 10),)),
    FunctionCase("erfinv", torch.erfinv, special.erfinv, mp.erfinv, ((0.01, 0.99),)),
    FunctionCase("ndtr", torch.special.ndtr, special.ndtr, mp.ncdf, (NEGATIVE, (0.01, 5))),
    FunctionCase(
        "log_ndtr",
        torch.special.log_ndtr,
        special.log_ndtr,
        lambda x: mp.log(mp.ncdf(x)),
        ((-30.0, -20.01), (-19.9, -0.05), (0.01, 3)),
    ),
    FunctionCase(
        "ndtri",
        torch.special.ndtri,
        special.ndtri,
        lambda x: mp.sqrt(2) * mp.erfinv(2 * x - 1),
        ((1e-6, 0.4), (0.6, 0.999)),
    ),
    FunctionCase(
        "gammainc(3, ·)",
        lambda x: torch.special.gammainc(torch.full_like(x, 3.0), x),
        lambda x: special.gammainc(3.0, x),
        lambda x: mp.gammainc(3, 0, x, regularized=True),
        ((0.1, 10),),
    ),
    FunctionCase("i0e", torch.special.i0e, special.i0e, _scaled_bessel(0), ((0.01, 100),)),
    FunctionCase("i1e", torch.special.i1e, special.i1e, _scaled_bessel(1), ((0.01, 100),)),
    FunctionCase(
        "softplus",
        torch.nn.functional.softplus,
        jax.nn.softplus,
        lambda x: mp.log1p(mp.exp(x)),
        (NEGATIVE, (0.1, 19.9), (20.01, 25)),
    ),
    FunctionCase(
        "log_sigmoid",
        torch.nn.functional.logsigmoid,
        jax.nn.log_sigmoid,
        lambda x: -mp.log1p(mp.exp(-x)),
        (NEGATIVE, (0.1, 30)),
    ),
)


def measure_functions() -> list[FunctionErrors]:
    """Every function in every range."""
    return [measured(case, within) for case in FUNCTIONS for within in case.ranges]


@mp.workdps(100)
def measured(case: FunctionCase, within: tuple[float, float]) -> FunctionErrors:
    """Errors of both libraries at points spread evenly on a logarithmic scale."""
    low, high = within
    points = -np.geomspace(-low, -high, POINTS) if high < 0 else np.geomspace(low, high, POINTS)
    truth = [(case.exact(x), slope(case.exact, x)) for x in map(mpf, points)]
    return FunctionErrors(
        case, within, _errors(_in_torch(case, points), truth), _errors(_in_jax(case, points), truth)
    )


def _in_torch(case: FunctionCase, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x = torch.tensor(points, dtype=torch.float64, requires_grad=True)
    values = case.torch(x)
    (slopes,) = torch.autograd.grad(values.sum(), x)
    return values.detach().numpy(), slopes.numpy()


def _in_jax(case: FunctionCase, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with jax.enable_x64(True):
        x = jnp.asarray(points)
        slopes = jax.grad(lambda x: case.jax(x).sum())(x)
        return np.asarray(case.jax(x)), np.asarray(slopes)


def _errors(found: tuple[np.ndarray, np.ndarray], truth: list[Any]) -> tuple[float, float]:
    value, slope = (
        max(float(abs((mpf(float(x)) - t[i]) / t[i])) for x, t in zip(numbers, truth, strict=True))
        for i, numbers in enumerate(found)
    )
    return value, slope
