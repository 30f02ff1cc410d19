"""The question's event route: one multivariate normal per item in model and guide, of the package's own."""

import numpy as np
import torch
from pyro.infer import Trace_ELBO

from programs.program import Program
from pyro_impl import build
from twinplate import ProgramConfig, initial_params, make_program

ITEMS, BATCH, FEATURES, COMPONENTS = 256, 64, 16, 4


def of(model, guide):
    """The reference program of this model and guide, on mini-batches."""
    x = np.random.default_rng(0).normal(size=(ITEMS, FEATURES)).cumsum(1)
    config = ProgramConfig(FEATURES, COMPONENTS, model=model, guide=guide, hidden_width=32)
    program, dtype = make_program(x, config), torch.get_default_dtype()
    pair = build(program, initial_params(program, seed=0), dtype)
    rows = torch.as_tensor(x, dtype=dtype).split(BATCH)
    elbo = Trace_ELBO(max_plate_nesting=pair.max_plate_nesting)
    return Program(pair.model, pair.guide, lambda step: (rows[step % 4], None, ITEMS), elbo)


def make():
    return of("event", "event")
