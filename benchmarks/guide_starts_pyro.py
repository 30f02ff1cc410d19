"""The starts of `guide_starts.py` in Pyro, one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from guide_starts_models import make_model
from pyro.infer import SVI, Trace_ELBO

from pyro_impl import AutoAmortizedNormal, items_first

HIDDEN = 32


def run(
    name: str, x: np.ndarray, starts: int, steps: int, batch_size: int, rate: float
) -> tuple[np.ndarray, np.ndarray]:
    """Losses (starts, steps), and whether all parameters of each start are finite at the end."""
    model = make_model(name, pyro, dist, torch, _array, items_first)
    losses, finite = np.full((starts, steps), np.nan), np.zeros(starts, bool)
    for seed in range(starts):
        pyro.clear_param_store()
        pyro.set_rng_seed(seed)
        layers = [torch.nn.Linear(x.shape[1], HIDDEN), torch.nn.SiLU()]
        encoder = torch.nn.Sequential(*layers, torch.nn.Linear(HIDDEN, HIDDEN), torch.nn.SiLU())
        guide = AutoAmortizedNormal(model, "items", encoder.float())
        svi = SVI(model, guide, pyro.optim.Adam({"lr": rate}), Trace_ELBO())
        try:
            for step in range(steps):
                losses[seed, step] = svi.step(_array(x), batch_size)
        except (
            ValueError
        ):  # the guide's InputError among them; what is left of the losses stays NaN
            continue
        store = pyro.get_param_store()
        finite[seed] = all(bool(value.isfinite().all()) for value in store.values())
    return losses, finite


def _array(values: Any) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float32)
