"""The problem that the benchmarks share: one linear-Gaussian data set with correlated loadings.

Size S: N = 4,096 items, D = 64 features, K = 8 components, batches of B = 256, hidden width 128. The
exact posterior and log evidence are closed forms (`twinplate.programs.linear_gaussian`).
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from twinplate.bench.workload import SEED, Size, simulate
from twinplate.programs.config import ProgramConfig
from twinplate.programs.linear_gaussian import Array, LinearGaussian
from twinplate.programs.program import ReferenceProgram, make_program
from twinplate.seeds import generator


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

    def program(self, **config: Any) -> ReferenceProgram:
        """The program of `config` for these data; loadings, intercept and noise are fixed unless learned.

        Its guide starts near the standard normal, so that there is something to learn.
        """
        return replace(self.started_program(**config), width=None)

    def started_program(self, **config: Any) -> ReferenceProgram:
        """The same as `fit` usually has it: the guide starts at the posterior of given loadings."""
        size = self.size
        sizes = (size.num_features, size.num_components)
        full = ProgramConfig(*sizes, hidden_width=size.hidden_width, **config)
        return make_program(self.x, full, self.generative)


def make_problem(size: Size, hidden: float = 0.0) -> Problem:
    """The data of `size` (`twinplate.bench.workload.simulate`), the fraction `hidden` hidden at random."""
    generative, x = simulate(size)
    x[generator(SEED, "hidden").random(x.shape) < hidden] = np.nan
    return Problem(size, generative, x)


def add_size_arguments(parser: argparse.ArgumentParser) -> None:
    """One option for every number of `Size`, with size S as the default."""
    for name, value in asdict(Size()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)


def size_from(options: argparse.Namespace) -> Size:
    """The size that the options of `add_size_arguments` name."""
    return Size(**{name: getattr(options, name) for name in asdict(Size())})
