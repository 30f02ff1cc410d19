"""What is compared, as data: programs, conditions and sizes, and how one case is run in both twins."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pytest

import numpyro_impl
import pyro_impl
from twinplate.programs.config import COVARIANCES, LEARNABLE, ProgramConfig, TrainingConfig
from twinplate.programs.linear_gaussian import LinearGaussian
from twinplate.programs.parameters import initial_params, noise_shapes
from twinplate.programs.program import Params, ReferenceProgram, make_program
from twinplate.records.evaluation import Evaluation
from twinplate.seeds import base_noise, generator

TWINS = {"pyro": pyro_impl, "numpyro": numpyro_impl}

PAIRS = [("diagonal", "diagonal")] + [(g, c) for g in ("event", "auxiliary") for c in COVARIANCES]

# name -> (subsampled, missing entries, observed a, particles, vectorised)
CONDITIONS: dict[str, tuple[bool, bool, bool, int, bool]] = {
    "full-data": (False, False, False, 1, True),
    "subsampled": (True, False, False, 1, True),
    "missing": (True, True, False, 1, True),
    "observed-a": (True, False, True, 1, True),
    "particles-vectorised": (True, False, False, 2, True),
    "particles-sequential": (True, False, False, 2, False),
}

# B, K, D, P: pairwise different, then each equal to 1
SIZES = [(5, 3, 4, 2), (1, 3, 4, 2), (5, 1, 4, 2), (5, 3, 1, 2), (5, 3, 4, 1)]


@dataclass(frozen=True)
class ReferenceCase:
    """One program under one condition, at one size; the same numbers for both twins."""

    guide: str = "auxiliary"
    covariance: str = "full"
    condition: str = "subsampled"
    amplitude: bool = False
    learned: bool = False
    size: tuple[int, int, int, int] = SIZES[0]
    vectorised: bool | None = None
    seed: int = 0

    def __str__(self) -> str:
        words = [self.guide, self.covariance, self.condition]
        words += ["amplitude"] * self.amplitude + ["learned"] * self.learned
        if self.size != SIZES[0]:
            words.append("B{}-K{}-D{}-P{}".format(*self.size))
        if self.vectorised is not None:
            words.append("vectorised" if self.vectorised else "sequential")
        return "-".join(words)

    @property
    def parity(self) -> int:
        """0 for half of the cases: a switch turned by one place makes it 1, and the other way round.

        So every combination of all switches but one is among those of parity 0.
        """
        pair, conditions = (self.guide, self.covariance), list(CONDITIONS)
        places = PAIRS.index(pair), conditions.index(self.condition), SIZES.index(self.size)
        return (sum(places) + self.amplitude + self.learned + bool(self.vectorised)) % 2

    @property
    def is_first(self) -> bool:
        """Whether it is in the half of those of parity 0 that has each pair with each condition once.

        Every combination of two switches is among them, and every one of three that leaves out pair or
        condition.
        """
        pair, conditions = (self.guide, self.covariance), list(CONDITIONS)
        halves = PAIRS.index(pair) // 2, conditions.index(self.condition) // 2
        return self.parity == 0 and (sum(halves) + self.learned) % 2 == 0

    @property
    def particles(self) -> int:
        """P: the condition's, or that of the size when the mode is named."""
        return CONDITIONS[self.condition][3] if self.vectorised is None else self.size[3]

    @cached_property
    def x(self) -> np.ndarray:
        """All items, (N, D); N is B + 4 where subsampled."""
        subsampled, missing = CONDITIONS[self.condition][:2]
        batch_size, _, num_features, _ = self.size
        rng = generator(self.seed, "x")
        x = rng.normal(size=(batch_size + 4 * subsampled, num_features)) + 0.3
        if missing:
            hidden = rng.uniform(size=x.shape) < 0.4
            hidden[np.arange(len(x)), np.arange(len(x)) % num_features] = False
            hidden[np.arange(num_features) % len(x), np.arange(num_features)] = False
            x[hidden] = np.nan
        return x

    @cached_property
    def program(self) -> ReferenceProgram:
        """Random loadings, noise and prior; rank 2 where K allows."""
        _, num_components, num_features, _ = self.size
        config = ProgramConfig(
            num_features,
            num_components,
            guide=self.guide,
            covariance=self.covariance,
            rank=min(2, num_components),
            learned=LEARNABLE if self.learned else (),
            amplitude_scale=0.4 if self.amplitude else None,
            encoder="experts" if CONDITIONS[self.condition][1] else "mlp",
            hidden_width=6,
        )
        rng = generator(self.seed, "generative")
        generative = LinearGaussian(
            rng.normal(size=(num_features, num_components)),
            rng.normal(size=num_features),
            rng.uniform(0.3, 0.9, num_features),
            rng.normal(size=num_components),
            rng.uniform(0.5, 1.5, num_components),
        )
        return make_program(self.x, config, generative)

    @cached_property
    def params(self) -> Params:
        """Away from the initial values, whose zeros would hide mistakes."""
        rng = generator(self.seed, "params")
        initial = initial_params(self.program, self.seed)
        return {name: v + 0.2 * rng.standard_normal(v.shape) for name, v in initial.items()}

    @cached_property
    def a(self) -> np.ndarray | None:
        """Observed (K, B), if the condition says so."""
        if not CONDITIONS[self.condition][2]:
            return None
        return generator(self.seed, "a").standard_normal((self.size[1], self.size[0]))

    @cached_property
    def noise(self) -> dict[str, np.ndarray]:
        """Base noise of the guide, (P, ...)."""
        shapes = noise_shapes(self.program.config, self.size[0])
        return base_noise(self.seed, 0, shapes, self.particles)

    def training(self, precision: str = "float64") -> TrainingConfig:
        """Particles and precision."""
        vectorised = CONDITIONS[self.condition][4] if self.vectorised is None else self.vectorised
        return TrainingConfig(
            particles=self.particles,
            vectorize_particles=vectorised,
            precision=precision,
            device="cpu",
            seed=self.seed,
        )

    def run(self, twin: str, precision: str = "float64", **changes: Any) -> Evaluation:
        """Evaluate in one twin; `changes` replace `x`, `params` or `noise`."""
        inputs = {"x": self.x, "params": self.params, "noise": self.noise, **changes}
        batch_size = self.size[0]
        return TWINS[twin].evaluate(
            inputs["x"][:batch_size],
            self.program,
            inputs["params"],
            inputs["noise"],
            self.training(precision),
            a=self.a,
            num_items=len(self.x),
        )


def half_of_them_slow(cases: list[ReferenceCase]) -> list[Any]:
    """Parameters of a test: those of parity 1 are left to `make test-all`."""
    marks = ((), pytest.mark.slow)
    return [pytest.param(case, id=str(case), marks=marks[case.parity]) for case in cases]


def three_quarters_of_them_slow(cases: list[ReferenceCase]) -> list[Any]:
    """The same with half of those: each pair and each size is among them, in both modes of particles."""

    def is_quick(case: ReferenceCase) -> bool:
        places = PAIRS.index((case.guide, case.covariance)) + SIZES.index(case.size)
        return case.parity == 0 and places % 4 in (0, 1)

    marks = (pytest.mark.slow, ())
    return [pytest.param(case, id=str(case), marks=marks[is_quick(case)]) for case in cases]


def all_but_the_first_slow(cases: list[ReferenceCase]) -> list[Any]:
    """The same with fewer that are not slow."""
    marks = (pytest.mark.slow, ())
    return [pytest.param(case, id=str(case), marks=marks[case.is_first]) for case in cases]


def all_programs() -> list[ReferenceCase]:
    """Every valid pair × covariance, with and without amplitude, fixed and learned."""
    return [
        ReferenceCase(guide, covariance, amplitude=amplitude, learned=learned)
        for guide, covariance in PAIRS
        for amplitude in (False, True)
        for learned in (False, True)
    ]


def all_cases() -> list[ReferenceCase]:
    """Every program under every condition."""
    return [
        replace(case, condition=condition) for case in all_programs() for condition in CONDITIONS
    ]


def all_sizes() -> list[ReferenceCase]:
    """Every pair at every size, in both particle modes, with everything switched on."""
    return [
        ReferenceCase(guide, covariance, "subsampled", True, True, size, vectorised)
        for guide, covariance in PAIRS
        for size in SIZES
        for vectorised in (True, False)
    ]
