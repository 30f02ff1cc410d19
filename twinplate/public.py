"""The public names of twinplate, all at once; `twinplate` imports them when the first is asked for."""

from twinplate.conversion.converting import ConversionError, Converted, convert
from twinplate.conversion.trained_file import Trained
from twinplate.errors import InputError
from twinplate.interop.arviz import to_arviz
from twinplate.loss_faults import WrongLossWarning
from twinplate.programs.config import ProgramConfig, TrainingConfig
from twinplate.programs.count_prediction import CountPrediction
from twinplate.programs.generalised_linear import GeneralisedLinear
from twinplate.programs.importance import EvidenceBound
from twinplate.programs.linear_gaussian import Gaussian, LinearGaussian
from twinplate.programs.parameters import initial_params
from twinplate.programs.prediction import Prediction
from twinplate.programs.program import ReferenceProgram, make_program

# the name it had before; a program of either twin is another thing
from twinplate.programs.program import ReferenceProgram as Program
from twinplate.programs.triangle import unpack_scale_tril
from twinplate.records.record import Record
from twinplate.training.errors import (
    NonFiniteLossError,
    OutOfMemoryError,
    ProcessLostError,
    TrainingInterrupted,
)
from twinplate.training.loading import load
from twinplate.training.restarts import Restarts
from twinplate.training.saving import save
from twinplate.training.state import Fit, TrainingState
from twinplate.verification.case import Case, assert_same, verify
from twinplate.verification.comparison.findings import Finding
from twinplate.verification.report import Report, compare

__all__ = [
    "Case",
    "ConversionError",
    "Converted",
    "CountPrediction",
    "EvidenceBound",
    "Finding",
    "Fit",
    "Gaussian",
    "GeneralisedLinear",
    "InputError",
    "LinearGaussian",
    "NonFiniteLossError",
    "OutOfMemoryError",
    "Prediction",
    "ProcessLostError",
    "Program",
    "ProgramConfig",
    "Record",
    "ReferenceProgram",
    "Report",
    "Restarts",
    "Trained",
    "TrainingConfig",
    "TrainingInterrupted",
    "TrainingState",
    "WrongLossWarning",
    "assert_same",
    "compare",
    "convert",
    "initial_params",
    "load",
    "make_program",
    "save",
    "to_arviz",
    "unpack_scale_tril",
    "verify",
]
