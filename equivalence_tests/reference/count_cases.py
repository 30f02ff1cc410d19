"""Cases of counts and of zeros and ones, with offsets and missing entries."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from equivalence_tests.reference.cases import CONDITIONS, ReferenceCase
from twinplate.programs.config import ProgramConfig, learnable
from twinplate.programs.generalised_linear import GeneralisedLinear
from twinplate.programs.likelihood import COUNTS, LIKELIHOODS
from twinplate.programs.offsets import with_offsets
from twinplate.programs.program import ReferenceProgram, make_program
from twinplate.records.evaluation import Evaluation
from twinplate.seeds import generator

OTHERS = LIKELIHOODS[1:]


@dataclass(frozen=True)
class CountCase(ReferenceCase):
    """A case of another likelihood than the normal one; of counts with offsets that are given."""

    likelihood: str = "poisson"

    def __str__(self) -> str:
        return f"{self.likelihood}-{super().__str__()}"

    @cached_property
    def offsets(self) -> np.ndarray | None:
        """(N,), of counts."""
        if self.likelihood not in COUNTS:
            return None
        return generator(self.seed, "offsets").uniform(0.5, 2.0, len(self.x))

    @cached_property
    def x(self) -> np.ndarray:
        """Whole numbers, hidden where the condition hides."""
        hidden = np.isnan(ReferenceCase.x.func(self))  # type: ignore[attr-defined]
        rng = generator(self.seed, "counts")
        most = 2 if self.likelihood == "bernoulli" else 9
        return np.where(hidden, np.nan, rng.integers(0, most, hidden.shape))

    @cached_property
    def program(self) -> ReferenceProgram:
        """Random loadings and prior; rank 2 where K allows."""
        _, num_components, num_features, _ = self.size
        config = ProgramConfig(
            num_features,
            num_components,
            guide=self.guide,
            covariance=self.covariance,
            rank=min(2, num_components),
            learned=learnable(self.likelihood) if self.learned else (),
            encoder="experts" if CONDITIONS[self.condition][1] else "mlp",
            hidden_width=6,
            likelihood=self.likelihood,
        )
        rng = generator(self.seed, "generative")
        generative = GeneralisedLinear(
            self.likelihood,
            0.5 * rng.normal(size=(num_features, num_components)),
            0.5 * rng.normal(size=num_features),
            0.5 * rng.normal(size=num_components),
            rng.uniform(0.5, 1.5, num_components),
            rng.uniform(1, 4, num_features) if "negative" in self.likelihood else None,
        )
        return make_program(self.x, config, generative, offsets=self.offsets)

    def run(self, twin: str, precision: str = "float64", **changes: Any) -> Evaluation:
        """Evaluate in one twin, on rows with the offsets."""
        return super().run(twin, precision, **{"x": self.rows, **changes})

    @property
    def rows(self) -> np.ndarray:
        """What models and guides take, (N, D) or (N, D + 1)."""
        return with_offsets(self.x, self.offsets)
