"""The programs of `amortised.py` in Pyro: models, a guide by hand, the automatic ones, their training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from amortised_problems import CONTRAST, NOISE, Problem
from pyro.contrib.easyguide import easy_guide
from pyro.infer import SVI, Trace_ELBO, autoguide
from torch.profiler import ProfilerActivity, profile

from pyro_impl import AutoAmortizedNormal, MultivariateNormal, components_first, items_first

HIDDEN = 32
PEERS = {  # automatic guides of Pyro, and whether they take mini-batches
    "AutoNormal": True,
    "AutoMultivariateNormal": False,
    "AutoLowRankMultivariateNormal": False,
    "AutoStructured": False,
    "EasyGuide": True,
}


def make_model(problem: Problem) -> Any:
    """The model, of all data and the size of a mini-batch."""
    loadings, intercept = (
        torch.tensor(v, dtype=torch.float32) for v in (problem.loadings, problem.intercept)
    )
    k, kind = loadings.shape[1], problem.model

    def model(x: Any, inputs: Any, library: Any, batch_size: int | None = None) -> None:
        with pyro.plate("mini_batch", len(x), subsample_size=batch_size, dim=-1):
            x, library = pyro.subsample(x, event_dim=1), pyro.subsample(library, event_dim=0)
            if kind == "event":
                a = pyro.sample("a", dist.Normal(torch.zeros(k), 1.0).to_event(1))
            else:
                with pyro.plate("components", k, dim=-2):
                    a = items_first(pyro.sample("a", dist.Normal(0.0, 1.0)))
            mean = a @ loadings.mT + intercept
            if kind == "contrast":
                mean = pyro.sample("contrast", dist.LogNormal(0.0, CONTRAST))[..., None] * mean
            if kind == "counts":
                data = dist.Poisson(library[..., None] * mean.exp())
            else:
                data = dist.Normal(mean, NOISE)
            pyro.sample("x", data.to_event(1), obs=x)

    return model


def hidden_layers(width: int, hidden: int) -> torch.nn.Sequential:
    """From the inputs to features."""
    nn = torch.nn
    return nn.Sequential(nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU())


def normal_network(problem: Problem, hidden: int = HIDDEN) -> torch.nn.Module:
    """From the inputs to a normal of each item's numbers."""
    d, k = problem.loadings.shape
    size = k + (problem.model == "contrast")
    triangle = size * (size - 1) // 2
    rows, columns = torch.tril_indices(size, size, offset=-1)
    last = torch.nn.Linear(hidden, size + triangle + size)
    torch.nn.init.normal_(last.weight, std=0.01)

    class Network(torch.nn.Sequential):
        def forward(self, inputs: torch.Tensor) -> MultivariateNormal:
            loc, below, log_diagonal = super().forward(inputs).split([size, triangle, size], dim=-1)
            scale_tril = log_diagonal.exp().diag_embed()
            scale_tril[..., rows, columns] = below
            return MultivariateNormal(loc, scale_tril=scale_tril)

    return Network(hidden_layers(d, hidden), last)


def by_hand(problem: Problem, hidden: int) -> Any:
    """One normal per item, as one writes it: a network, a triangle, an auxiliary site, Deltas."""
    k, net = problem.loadings.shape[1], normal_network(problem, hidden)

    def guide(x: Any, inputs: Any, library: Any, batch_size: int | None = None) -> None:
        pyro.module("net", net)
        with pyro.plate("mini_batch", len(x), subsample_size=batch_size, dim=-1):
            joint = net(pyro.subsample(inputs, event_dim=1))
            z = pyro.sample("z", joint, infer={"is_auxiliary": True})
            if problem.model == "event":
                pyro.sample("a", dist.Delta(z, event_dim=1))
                return
            with pyro.plate("components", k, dim=-2):
                pyro.sample("a", dist.Delta(components_first(z[..., :k])))
            if problem.model == "contrast":
                pyro.sample("contrast", dist.Delta(z[..., k].exp(), log_density=-z[..., k]))

    return guide


def automatic(guide: str, model: Any, problem: Problem) -> Any:
    """A guide of Pyro."""
    if guide == "AutoStructured":
        return autoguide.AutoStructured(model, conditionals="mvn", dependencies="linear")
    if guide != "EasyGuide":
        return getattr(autoguide, guide)(model)
    net = normal_network(problem)

    @easy_guide(model)
    def easy(self: Any, x: Any, inputs: Any, library: Any, batch_size: int | None = None) -> None:
        pyro.module("net", net)
        group = self.group()
        with self.plate("mini_batch", len(x), subsample_size=batch_size, dim=-1):
            group.sample("z", net(pyro.subsample(inputs, event_dim=1)))

    return easy


class Run:
    """A guide in training. Parameters are in a store of its own."""

    def __init__(
        self,
        problem: Problem,
        guide: str,
        rate: float,
        steps: int,
        batch_size: int,
        hidden: int = HIDDEN,
        inference: type[Any] = SVI,
    ) -> None:
        torch.manual_seed(0)
        self._store: Any = {"params": {}, "constraints": {}}
        self._data = tuple(
            torch.tensor(v, dtype=torch.float32)
            for v in (problem.x, problem.inputs, problem.library)
        )
        model = make_model(problem)
        in_batches = PEERS.get(guide, True) and batch_size < len(problem.x)
        self._batch = {"batch_size": batch_size} if in_batches else {}
        if guide == "by hand":
            made = by_hand(problem, hidden)
        elif guide == "ours":
            encoder = hidden_layers(problem.x.shape[1], hidden)
            made = AutoAmortizedNormal(
                model, "mini_batch", encoder, features=lambda x, inputs, *rest, **more: inputs
            )
        else:
            made = automatic(guide, model, problem)
        self._programs = model, made
        # As AutoStructured's documentation advises; at the whole rate it diverges.
        args = lambda name: {"lr": rate * (0.1 if ".deps." in name else 1.0)}
        adam = {"optimizer": torch.optim.Adam, "optim_args": args, "T_max": steps}
        self._rates = pyro.optim.CosineAnnealingLR(adam)
        self._svi = inference(model, made, self._rates, Trace_ELBO())
        self.take(1)

    def take(self, steps: int) -> None:
        """Take so many steps."""
        with pyro.get_param_store().scope(self._store), pyro.validation_enabled(False):
            for _ in range(steps):
                self._svi.step(*self._data, **self._batch)
                self._rates.step()

    def elbo(self, particles: int) -> float:
        """Of all items, nats per item."""
        items = len(self._data[0])
        with pyro.get_param_store().scope(self._store), pyro.validation_enabled(False):
            losses = [Trace_ELBO().loss(*self._programs, *self._data) for _ in range(particles)]
        return -float(np.mean(losses)) / items

    @property
    def numbers(self) -> int:
        """That are learned."""
        return sum(v.numel() for v in self._store["params"].values())

    @property
    def peak_mb(self) -> float:
        """What a step allocates, with parameters and moments."""
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
            self.take(1)
        events = found.profiler.kineto_results.events()  # type: ignore[union-attr]
        changes = [e.nbytes() for e in events if e.name() == "[memory]"]
        return (float(max(np.cumsum(changes), default=0)) + 12 * self.numbers) / 1e6
