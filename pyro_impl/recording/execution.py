"""Guide, model, loss and gradient of every particle."""

from __future__ import annotations

import math
import sys
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import pyro
import torch
from pyro import infer, poutine
from pyro.infer.autoguide.initialization import init_to_value
from pyro.infer.mcmc.util import initialize_model
from pyro.poutine.guide import GuideMessenger
from pyro.util import check_site_shape
from torch import Tensor
from torch.distributions import biject_to, constraints

from pyro_impl.arguments import Inputs
from pyro_impl.programs.noise import unwrapped
from pyro_impl.recording.parameters import average_gradients, gradient_of
from pyro_impl.recording.replay import replay_draws
from pyro_impl.recording.sites import CIRCULAR, kind_of, sample_nodes, score, to_array
from twinplate.records.record import Array, Parameter, Settings

Tensors = dict[str, Tensor]

CIRCLE = biject_to(constraints.interval(-math.pi, math.pi))
SEED = 0  # of everything that is random and not given


class Execution:
    """One run of a built program. `traces`, `stage` and `site` say how far it got.

    traces: of guide and model, one for each particle.  latents: as parameters, without a guide.
    """

    def __init__(self, model: Any, guide: Any, settings: Settings) -> None:
        self.model, self.guide = model, guide
        self.settings = settings
        self.traces: dict[str, list[poutine.Trace]] = {"guide": [], "model": []}
        self.stage = "guide"
        self.site: str | None = None
        self.loss: Array | None = None
        self.latents: dict[str, Parameter] = {}

    @property
    def reached(self) -> str | None:
        """The site in hand, or the last one that the running program came to."""
        traces = self.traces.get(self.stage)
        return self.site or next(reversed(sample_nodes(traces[-1])), None) if traces else None

    def draw(self, seed: int, draws: Tensors, indices: Tensors, inputs: Inputs) -> None:
        """Trace every particle, with its own draws where `draws` has none, and score the sites."""
        for particle in range(self.settings.particles):
            pyro.set_rng_seed(seed + 1000 * particle)
            with replay_draws(_row(draws, particle), indices):
                self.program(inputs)

    def run(self, draws: Tensors, indices: Tensors, inputs: Inputs) -> None:
        """All particles with given draws, and their losses; gradients of the mean stay in the leaves."""
        self.draw(SEED, draws, indices, inputs)
        if self.guide is not None or self._enumerates:
            self._check_shapes()
        self.stage, self.site = "loss", None
        if self.guide is None:
            self.loss, self.latents = self._potentials(draws, inputs)
        else:
            self.loss = self._losses(draws, indices, inputs)

    def program(self, inputs: Inputs) -> None:
        """Run guide and model once and keep their traces."""
        model, both = self.model, poutine.unwrap(self.guide)
        if isinstance(both, GuideMessenger):  # a guide that runs the model itself
            self.guide(*inputs.args, **inputs.kwargs)
            for stage, trace in zip(("model", "guide"), both.get_traces(), strict=True):
                self.traces[stage].append(trace)
                self._score(trace)
            return
        if self.guide is not None:
            self._trace("guide", self.guide, inputs)
            model = poutine.replay(model, trace=self.traces["guide"][-1])
        self._trace("model", model, inputs)

    def _trace(self, stage: str, program: Any, inputs: Inputs) -> None:
        self.stage = stage
        with poutine.trace() as tracer:
            self.traces[stage].append(tracer.trace)  # known even if the program stops
            program(*inputs.args, **inputs.kwargs)
        self._score(tracer.trace)

    def _score(self, trace: poutine.Trace) -> None:
        for self.site, node in sample_nodes(trace).items():
            score(node)
        self.site = None

    def _check_shapes(self) -> None:
        """As the ELBOs do that are not told how deep the plates nest; the others trust us.

        Pyro's samplers do not: they take batch dims outside of every plate.
        """
        for stage, traces in self.traces.items():
            self.stage = stage
            for trace in traces:
                for name, node in sample_nodes(trace).items():
                    self.site = name
                    if kind_of(node) == "deterministic":
                        continue
                    check_site_shape(trace.nodes[name], max_plate_nesting=sys.maxsize)

    @property
    def _enumerates(self) -> bool:
        """Whether a sampler would sum over a discrete latent, in a dim to the left of all plates."""
        nodes = [n for trace in self.traces["model"] for n in sample_nodes(trace).values()]
        return any(node["fn"].has_enumerate_support for node in nodes if kind_of(node) == "latent")

    @property
    def _nesting(self) -> int:
        nodes = [n for ts in self.traces.values() for t in ts for n in sample_nodes(t).values()]
        frames = [f for node in nodes for f in node["cond_indep_stack"] if f.vectorized]
        return max((-frame.dim for frame in frames), default=0)

    def _losses(self, draws: Tensors, indices: Tensors, inputs: Inputs) -> Array:
        """(P,), or (1,) of a loss that takes all particles itself: vectorised ones, and Rényi's bound."""
        particles, options = self.settings.particles, self._options
        elbo, losses = getattr(infer, self.settings.loss)(**options), []
        passes: list[Any] = [replay_draws(_row(draws, p), indices) for p in range(particles)]
        if "vectorize_particles" in options:
            passes = [replay_draws(draws, indices, self._nesting)]
        elif "num_particles" in options:
            _replay_in_turn(elbo, passes)
            passes = [nullcontext()]
        for particle, handler in enumerate(passes):
            pyro.set_rng_seed(SEED + 1000 * particle)
            with handler:
                losses.append(
                    elbo.loss_and_grads(self.model, self.guide, *inputs.args, **inputs.kwargs)
                )
        average_gradients(len(passes))
        return np.array(losses, dtype=np.float64)

    @property
    def _options(self) -> dict[str, Any]:
        """What the loss is told when it is made."""
        settings, options = self.settings, dict[str, Any]()
        if settings.loss == "TraceEnum_ELBO":
            options = {"max_plate_nesting": self._nesting}
        if settings.loss == "RenyiELBO":
            options = {"alpha": settings.alpha, "num_particles": settings.particles}
        if settings.vectorize_particles and settings.particles > 1:
            options |= {"max_plate_nesting": self._nesting, "num_particles": settings.particles}
            options["vectorize_particles"] = True
        return options

    def _potentials(self, draws: Tensors, inputs: Inputs) -> tuple[Array, dict[str, Parameter]]:
        """Potential energies (P,), and the latents' unconstrained values and gradients (P, …)."""
        energies, points = [], []
        for particle in range(self.settings.particles):
            # Latents that are not given, because the other program has none of that name, stay as drawn.
            nodes = sample_nodes(self.traces["model"][particle])
            own = {name: node["value"] for name, node in nodes.items() if kind_of(node) == "latent"}
            energy, point = self._potential({**own, **_row(draws, particle)}, inputs)
            energies.append(energy)
            points.append(point)
        average_gradients(len(points))
        return np.array(energies), {
            name: Parameter(
                "unconstrained",
                np.stack([to_array(p[name]) for p in points]),
                np.stack([gradient_of(p[name]) for p in points]) / len(points),
            )
            for name in points[0]
        }

    def _is_circular(self, name: str) -> bool:
        return isinstance(unwrapped(self.traces["model"][0].nodes[name]["fn"]), CIRCULAR)

    def _potential(self, draws: Tensors, inputs: Inputs) -> tuple[float, Tensors]:
        """Where Pyro's sampler moves; but angles on the circle, as in NumPyro, and not on the real line."""
        pyro.set_rng_seed(SEED)
        _, potential, transforms, _ = initialize_model(
            self.model,
            inputs.args,
            inputs.kwargs,
            max_plate_nesting=self._nesting,
            init_strategy=partial(init_to_value, values=draws),
            initial_params={},
        )
        circular = {n for n in transforms if self._is_circular(n)}
        maps = {name: CIRCLE.inv if name in circular else t for name, t in transforms.items()}
        point = {name: t(draws[name]).requires_grad_() for name, t in maps.items()}
        on_line = {name: CIRCLE(u) if name in circular else u for name, u in point.items()}
        energy = torch.as_tensor(potential(on_line))
        for name in circular:
            energy = energy - CIRCLE.log_abs_det_jacobian(point[name], on_line[name]).sum()
        if energy.requires_grad:
            energy.backward()
        return energy.item(), point


def _replay_in_turn(elbo: Any, handlers: list[replay_draws]) -> None:
    """Make `elbo` take its particles, one after the other, each within the next handler."""
    take, particles = elbo._get_trace, iter(enumerate(handlers))

    def taken(*program: Any) -> tuple[poutine.Trace, poutine.Trace]:
        particle, handler = next(particles)
        pyro.set_rng_seed(SEED + 1000 * particle)
        with handler:
            traces: tuple[poutine.Trace, poutine.Trace] = take(*program)
            return traces

    elbo._get_trace = taken


def _row(draws: Tensors, particle: int) -> Tensors:
    return {name: values[particle] for name, values in draws.items()}
