"""What is fitted: the shipped programs, and what they are compared with.

The stock densities, the textbook encoder and the constant learning rate are swapped in while a `with`
block lasts, so that everything else (data, seeds, optimiser, loop) is the code that is shipped.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any
from unittest import mock

import numpy as np
from problem import Problem

from twinplate.backends import load_backend
from twinplate.programs.config import ESTIMATORS, TrainingConfig
from twinplate.programs.parameters import initial_params
from twinplate.programs.program import ReferenceProgram
from twinplate.training.state import Array, Fit, TrainingState

NAMESPACES = {"pyro": "torch", "numpyro": "jax.numpy"}


@dataclass(frozen=True)
class Recipe:
    """A guide and its covariance, an encoder ("mlp", "experts", "textbook"), whose densities they are.

    hidden: fraction of the entries hidden at random.  estimator: one of
    `twinplate.programs.config.ESTIMATORS`.
    """

    guide: str = "auxiliary"
    covariance: str = "full"
    encoder: str = "mlp"
    hidden: float = 0.0
    stock: bool = False
    estimator: str = ESTIMATORS[0]

    @property
    def title(self) -> str:
        """One line for a table."""
        data = f"{self.hidden:.0%} hidden" if self.hidden else "full data"
        densities = ["stock densities"] if self.stock else []
        estimator = [] if self.estimator == ESTIMATORS[0] else [self.estimator]
        return ", ".join(
            [data, f"{self.guide} {self.covariance}", self.encoder, *densities, *estimator]
        )

    def program(self, problem: Problem) -> ReferenceProgram:
        """The program to fit to `problem`; the textbook encoder is the mlp of `textbook_encoder`."""
        encoder = "mlp" if self.encoder == "textbook" else self.encoder
        return problem.program(guide=self.guide, covariance=self.covariance, encoder=encoder)

    def fit(self, backend: str, problem: Problem, training: TrainingConfig) -> Fit:
        """The shipped `fit`, with what the recipe swaps in."""
        program, training = self.program(problem), replace(training, estimator=self.estimator)
        state = textbook_start(program, training.seed) if self.encoder == "textbook" else None
        with ExitStack() as stack:
            # Pyro warns at every step whose loss is not a number; here that is a result.
            stack.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", message="Encountered NaN")
            if self.stock:
                stack.enter_context(stock_normal(backend))
            if self.encoder == "textbook":
                stack.enter_context(textbook_encoder(backend))
            fit: Fit = load_backend(backend).fit(problem.x, program, training, state=state)
        return fit

    def missed(self, backend: str, problem: Problem, fit: Fit) -> float:
        """Mean KL(q ‖ exact posterior) per item in nats; infinite where parameters are not finite."""
        if not all(np.isfinite(values).all() for values in fit.params.values()):
            return np.inf
        guide = load_backend(backend).posterior(problem.x, self.program(problem), fit.params)
        missed = float(problem.generative.kl_to_posterior(problem.x, guide).mean())
        return missed if np.isfinite(missed) else np.inf


@contextmanager
def stock_normal(backend: str) -> Iterator[None]:
    """The framework's own multivariate normals: `log_prob` at their own draw, through a solve."""
    guides = import_module(f"{load_backend(backend).__name__}.programs.guides")
    dist = import_module(f"{backend}.distributions")
    shipped = guides.joint_normal

    def joint_normal(encoded: Any) -> Any:
        q = shipped(encoded)
        if isinstance(q, dist.LowRankMultivariateNormal):
            return dist.LowRankMultivariateNormal(q.loc, q.cov_factor, q.cov_diag)
        return dist.MultivariateNormal(q.loc, scale_tril=q.scale_tril)

    with mock.patch.object(guides, "joint_normal", joint_normal):
        yield


@contextmanager
def textbook_encoder(backend: str) -> Iterator[None]:
    """The multilayer perceptron alone, without the linear skip; begin with `textbook_start`.

    The skip stays in place and at zero, so the parameters are also those of the shipped encoder.
    """
    encoder = import_module(f"{load_backend(backend).__name__}.programs.encoder")
    namespace = import_module(NAMESPACES[backend])

    class Textbook(encoder.Encoder):  # type: ignore[misc, name-defined]
        def network(self, features: Any, missing: Any) -> Any:
            # Cancels the skip, which starts at zero and whose gradient is then exactly zero.
            flat, skip = super().network(features, missing), self.skip(features)
            k = skip.shape[-1]
            return namespace.concatenate([flat[:, :k] - skip, flat[:, k:]], -1)

    with mock.patch.dict(encoder.ENCODERS, mlp=Textbook):
        yield


def textbook_start(program: ReferenceProgram, seed: int) -> TrainingState:
    """The shipped initial values, but for a last layer of the usual size (variance 1 / fan-in)."""
    params = initial_params(program, seed)
    params["encoder.out.weight"] = 100.0 * params["encoder.out.weight"]
    return TrainingState.start(params)


@contextmanager
def constant_rate() -> Iterator[None]:
    """The first learning rate throughout, in place of the cosine schedule."""

    def constant(learning_rate: float, step: Any, steps: int) -> Array:
        return np.full(np.shape(step), learning_rate)

    with mock.patch("twinplate.training.plan.cosine", constant):
        yield
