"""The textbook recipe in Pyro, as `twinplate bench` times it beside the shipped training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro import infer
from pyro.optim import PyroLRScheduler, PyroOptim
from pyro.params.param_store import StateDict
from torch import Tensor

from pyro_impl.bench import handwritten
from pyro_impl.device import find_device, to_tensor
from pyro_impl.programs.assembly import build
from pyro_impl.programs.encoder import Encoder
from pyro_impl.programs.guides import components_first
from pyro_impl.programs.models import mini_batch
from pyro_impl.programs.noise import base_noise
from pyro_impl.programs.parameters import leaves, load_encoder, to_neutral
from twinplate.bench.workload import SEED, Workload
from twinplate.programs.program import Params
from twinplate.training.plan import Chunk


class _Network(Encoder):
    """The shipped encoder up to its numbers: loc (B, K) and flat (B, K (K + 1) / 2)."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        features, missing = self.inputs(x)
        flat = self.network(features, missing)
        k = self.config.num_components
        return flat[:, :k] + self.skip(features), flat[:, k:]


class Stock:
    """The textbook recipe: Pyro's own MultivariateNormal on a scattered triangle, `SVI.step`.

    elbo: `Trace_ELBO` or `JitTrace_ELBO`.  rate: a number, or a function of the step; by
    default the workload's.
    """

    def __init__(
        self,
        work: Workload,
        elbo: Any = infer.Trace_ELBO,
        rate: float | Callable[..., Any] | None = None,
        device: str = "cpu",
    ) -> None:
        k, where = work.size.num_components, find_device(device)
        network = _Network(work.program, complete=True)
        load_encoder(network, work.params)
        network.to(dtype=torch.float32, device=where)
        pair = build(work.program, work.params, torch.float32, where, complete=True)

        def guide(x: Tensor, num_items: int | None = None) -> None:
            loc, flat = pyro.module("encoder", network)(x)
            with mini_batch(x, num_items):
                joint = dist.MultivariateNormal(loc, scale_tril=handwritten.scatter(flat, k))
                a_aux = pyro.sample("a_aux", joint, infer={"is_auxiliary": True})
                with pyro.plate("components", k, dim=-2):
                    pyro.sample("a", dist.Delta(components_first(a_aux)))

        self._optimizer = _adam(work.rate if rate is None else rate)
        loss = elbo(max_plate_nesting=2, **quiet(elbo.__name__))
        self._svi = infer.SVI(pair.model, guide, self._optimizer, loss)
        self._data, self._num_items = to_tensor(work.x, torch.float32, where), work.size.num_items
        self._store: StateDict = {"params": {}, "constraints": {}}

    @property
    def params(self) -> Params:
        """The present parameters, in the neutral layout."""
        with pyro.get_param_store().scope(self._store):
            return to_neutral(leaves())

    def run(self, chunk: Chunk) -> np.ndarray:
        """Take the steps of `chunk`, at this recipe's own rate; losses per item (steps,)."""
        torch.manual_seed(SEED + chunk.first)
        indices = torch.from_numpy(chunk.indices).to(self._data.device)
        noise = {n: to_tensor(v, torch.float32, indices.device) for n, v in chunk.noise.items()}
        losses = []
        with pyro.get_param_store().scope(self._store):
            for i, rows in enumerate(indices):
                with base_noise({name: values[i] for name, values in noise.items()}):
                    losses.append(self._svi.step(self._data[rows], num_items=self._num_items))
                if isinstance(self._optimizer, PyroLRScheduler):
                    self._optimizer.step()
        return np.array(losses) / self._num_items


def _adam(rate: float | Callable[..., Any]) -> PyroOptim:
    """What `pyro.optim.Adam` makes of a number, and `pyro.optim.LambdaLR` of a function."""
    if not callable(rate):
        return PyroOptim(torch.optim.Adam, {"lr": rate})
    settings = {"optimizer": torch.optim.Adam, "optim_args": {"lr": 1.0}, "lr_lambda": rate}
    return PyroLRScheduler(torch.optim.lr_scheduler.LambdaLR, settings)


def quiet(loss: str) -> dict[str, bool]:
    """Options of a loss: a traced one warns of whatever it takes for a constant."""
    return {"ignore_jit_warnings": True} if loss.startswith("Jit") else {}
