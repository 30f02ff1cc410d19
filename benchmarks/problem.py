"""The problem that the benchmarks share: one linear-Gaussian data set with correlated loadings.

Size S: N = 4,096 items, D = 64 features, K = 8 components, batches of B = 256, hidden width 128. The
exact posterior and log evidence are closed forms (`twinplate.linear_gaussian`).
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from twinplate.config import ProgramConfig
from twinplate.linear_gaussian import LinearGaussian
from twinplate.program import Program, make_program
from twinplate.seeds import generator

Array = npt.NDArray[np.float64]

SEED = 0  # of the data and its loadings; the seeds of training are another matter


@dataclass(frozen=True)
class Size:
    """N items, D features, K components, batches of B, width H of the encoder's hidden layers."""

    num_items: int = 4096
    num_features: int = 64
    num_components: int = 8
    batch_size: int = 256
    hidden_width: int = 128


@dataclass(frozen=True)
class Problem:
    """Data `x` (N, D), NaN where hidden, and the model that made them."""

    size: Size
    generative: LinearGaussian
    x: Array

    @property
    def log_evidence(self) -> float:
        """Exact, mean per item, in nats."""
        return float(self.generative.log_evidence(self.x).mean())

    @property
    def diagonal_gap(self) -> float:
        """What the best diagonal guide misses, mean per item, in nats."""
        return float(self.generative.family_gap(self.x, "diagonal").mean())

    def program(self, **config: Any) -> Program:
        """The program of `config` for these data; loadings, intercept and noise are fixed unless learned."""
        size = self.size
        sizes = (size.num_features, size.num_components)
        full = ProgramConfig(*sizes, hidden_width=size.hidden_width, **config)
        return make_program(self.x, full, self.generative)


def make_problem(size: Size, hidden: float = 0.0) -> Problem:
    """The data of `size`, with the fraction `hidden` of the entries hidden at random.

    Rows of the loadings are ½ N(0, R), R = ½ I + ½ 11ᵀ: any two components are correlated by ½.
    Intercepts are standard normal, noise scales uniform on (0.5, 1.5).
    """
    d, k = size.num_features, size.num_components
    factor = np.linalg.cholesky(0.5 * np.eye(k) + 0.5)
    loadings = 0.5 * generator(SEED, "loadings").standard_normal((d, k)) @ factor.T
    intercept = generator(SEED, "intercept").standard_normal(d)
    noise_scale = generator(SEED, "noise_scale").uniform(0.5, 1.5, d)
    generative = LinearGaussian(loadings, intercept, noise_scale)
    x, _ = generative.simulate(size.num_items, generator(SEED, "x"))
    x[generator(SEED, "hidden").random(x.shape) < hidden] = np.nan
    return Problem(size, generative, x)


def add_size_arguments(parser: argparse.ArgumentParser) -> None:
    """One option for every number of `Size`, with size S as the default."""
    for name, value in asdict(Size()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)


def size_from(options: argparse.Namespace) -> Size:
    """The size that the options of `add_size_arguments` name."""
    return Size(**{name: getattr(options, name) for name in asdict(Size())})
