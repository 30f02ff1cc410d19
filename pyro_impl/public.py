"""The public names of pyro_impl, all at once; `pyro_impl` imports them when the first is asked for."""

from pyro_impl.compiled.errors import EagerWarning
from pyro_impl.compiled.svi import CompiledSVI
from pyro_impl.conversion.state import restore, to_params, trained
from pyro_impl.guides.automatic import AutoAmortizedNormal
from pyro_impl.guides.joint import Local, joint_sample, layout_of
from pyro_impl.guides.prediction import predict
from pyro_impl.objectives.sticking_the_landing import StickingTheLandingELBO
from pyro_impl.programs.assembly import Pair, build
from pyro_impl.programs.encoder import Encoded, Encoder, ExpertsEncoder
from pyro_impl.programs.guides import (
    auxiliary_guide,
    components_first,
    diagonal_guide,
    event_guide,
    joint_normal,
)
from pyro_impl.programs.models import component_model, event_model, items_first
from pyro_impl.programs.noise import base_noise
from pyro_impl.programs.normal import (
    LowRankMultivariateNormal,
    MultivariateNormal,
    PackedMultivariateNormal,
)
from pyro_impl.programs.posteriors import posterior, posterior_blocks
from pyro_impl.recording.evaluation import evaluate
from pyro_impl.recording.program import Program
from pyro_impl.training.restarts import fit_many
from pyro_impl.training.trainer import Trainer, fit

__all__ = [
    "AutoAmortizedNormal",
    "CompiledSVI",
    "EagerWarning",
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
