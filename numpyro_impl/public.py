"""The public names of numpyro_impl, all at once; `numpyro_impl` imports them when the first is asked for."""

from numpyro_impl.compiled.svi import CompiledSVI
from numpyro_impl.conversion.state import restore, to_params, trained
from numpyro_impl.guides.automatic import AutoAmortizedNormal
from numpyro_impl.guides.joint import Local, joint_sample, layout_of
from numpyro_impl.guides.prediction import predict
from numpyro_impl.objectives.sticking_the_landing import StickingTheLandingELBO
from numpyro_impl.programs.assembly import Pair, build
from numpyro_impl.programs.encoder import Encoded, Encoder, ExpertsEncoder
from numpyro_impl.programs.guides import (
    auxiliary_guide,
    components_first,
    diagonal_guide,
    event_guide,
    joint_normal,
)
from numpyro_impl.programs.models import component_model, event_model, items_first
from numpyro_impl.programs.noise import base_noise
from numpyro_impl.programs.normal import (
    LowRankMultivariateNormal,
    MultivariateNormal,
    PackedMultivariateNormal,
)
from numpyro_impl.programs.posteriors import posterior, posterior_blocks
from numpyro_impl.recording.evaluation import evaluate
from numpyro_impl.recording.program import Program
from numpyro_impl.training.restarts import fit_many
from numpyro_impl.training.trainer import Trainer, fit

__all__ = [
    "AutoAmortizedNormal",
    "CompiledSVI",
    "Encoded",
    "Encoder",
    "ExpertsEncoder",
    "Local",
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
    "components_first",
    "diagonal_guide",
    "evaluate",
    "event_guide",
    "event_model",
    "fit",
    "fit_many",
    "items_first",
    "joint_normal",
    "joint_sample",
    "layout_of",
    "posterior",
    "posterior_blocks",
    "predict",
    "restore",
    "to_params",
    "trained",
]
