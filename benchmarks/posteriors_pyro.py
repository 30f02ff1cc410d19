"""The programs of `posteriors.py` in Pyro: training of the joint guide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from posteriors_models import Model
from pyro.infer import Trace_ELBO
from pyro.optim import CosineAnnealingLR

from pyro_impl import AutoAmortizedNormal, CompiledSVI, items_first

NAME = "pyro"
HIDDEN, RATE = 64, 5e-3


def _array(values: Any) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float32)


def trained(
    model: Model, x: np.ndarray, steps: int, batch_size: int
) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """From data of items to loc (N, J) and covariance (N, J, J) of the guide trained on `x`."""
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    program = model.make(pyro, dist, torch, _array, items_first)
    layers = [torch.nn.Linear(x.shape[1], HIDDEN), torch.nn.SiLU()]
    encoder = torch.nn.Sequential(*layers, torch.nn.Linear(HIDDEN, HIDDEN), torch.nn.SiLU())
    as_inputs = torch.log1p if model.inputs is np.log1p else torch.as_tensor
    guide = AutoAmortizedNormal(
        program, "items", encoder, features=lambda x, batch_size=None: as_inputs(x)
    )
    adam = {"optimizer": torch.optim.Adam, "optim_args": {"lr": RATE}, "T_max": steps}
    scheduler = CosineAnnealingLR(adam)
    elbo = Trace_ELBO(num_particles=4, vectorize_particles=True, max_plate_nesting=2)
    svi = CompiledSVI(program, guide, scheduler, elbo)
    data = _array(x)
    for _ in range(steps):
        svi.step(data, batch_size)
        scheduler.step()

    def asked(new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with torch.no_grad():
            normal = guide.posterior(_array(new))
            return normal.loc.numpy(), normal.covariance_matrix.numpy()

    return asked
