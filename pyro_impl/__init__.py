"""twinplate's programs on Pyro and torch: the models, the guides, their training and evaluation."""

from pyro_impl.compiled_svi import CompiledSVI, EagerWarning
from pyro_impl.encoder import Encoded, Encoder, ExpertsEncoder
from pyro_impl.evaluate import evaluate
from pyro_impl.guides import auxiliary_guide, diagonal_guide, event_guide, joint_normal
from pyro_impl.models import component_model, event_model
from pyro_impl.noise import base_noise
from pyro_impl.normal import (
    LowRankMultivariateNormal,
    MultivariateNormal,
    PackedMultivariateNormal,
)
from pyro_impl.pairs import Pair, build
from pyro_impl.path_elbo import StickingTheLandingELBO
from pyro_impl.posterior import posterior, posterior_blocks
from pyro_impl.program import Program
from pyro_impl.restarts import fit_many
from pyro_impl.training import Trainer, fit

__all__ = [
    "CompiledSVI",
    "EagerWarning",
    "Encoded",
    "Encoder",
    "ExpertsEncoder",
    "LowRankMultivariateNormal",
    "MultivariateNormal",
    "PackedMultivariateNormal",
    "Pair",
    "Program",
    "StickingTheLandingELBO",
    "Trainer",
    "auxiliary_guide",
    "base_noise",
    "build",
    "component_model",
    "diagonal_guide",
    "evaluate",
    "event_guide",
    "event_model",
    "fit",
    "fit_many",
    "joint_normal",
    "posterior",
    "posterior_blocks",
]
