"""The framework-free core of twinplate: configuration, data, closed forms, runs on disk, commands.

Nothing here imports torch or JAX; `twinplate.backends` finds an implementation when one is asked for.
"""

from twinplate.case import Case, assert_same, verify
from twinplate.compare import Report, compare
from twinplate.config import ProgramConfig, TrainingConfig
from twinplate.errors import InputError
from twinplate.findings import Finding
from twinplate.linear_gaussian import Gaussian, LinearGaussian
from twinplate.posterior_file import unpack_scale_tril
from twinplate.program import Program, initial_params, make_program
from twinplate.record import Record
from twinplate.restarts import Restarts
from twinplate.training import Fit, TrainingState
from twinplate.training_errors import NonFiniteLossError, OutOfMemoryError

__all__ = [
    "Case",
    "Finding",
    "Fit",
    "Gaussian",
    "InputError",
    "LinearGaussian",
    "NonFiniteLossError",
    "OutOfMemoryError",
    "Program",
    "ProgramConfig",
    "Record",
    "Report",
    "Restarts",
    "TrainingConfig",
    "TrainingState",
    "assert_same",
    "compare",
    "initial_params",
    "make_program",
    "unpack_scale_tril",
    "verify",
]
