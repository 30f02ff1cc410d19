"""twinplate's programs on NumPyro and JAX: the models, the guides, their training and evaluation."""

from numpyro_impl.compiled_svi import CompiledSVI
from numpyro_impl.encoder import Encoded, Encoder, ExpertsEncoder
from numpyro_impl.evaluate import evaluate
from numpyro_impl.guides import auxiliary_guide, diagonal_guide, event_guide, joint_normal
from numpyro_impl.models import component_model, event_model
from numpyro_impl.noise import base_noise
from numpyro_impl.normal import (
    LowRankMultivariateNormal,
    MultivariateNormal,
    PackedMultivariateNormal,
)
from numpyro_impl.pairs import Pair, build
from numpyro_impl.path_elbo import StickingTheLandingELBO
from numpyro_impl.posterior import posterior, posterior_blocks
from numpyro_impl.program import Program
from numpyro_impl.restarts import fit_many
from numpyro_impl.training import Trainer, fit

__all__ = [
    "CompiledSVI",
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
