"""What a run of a Pyro model shows of its latent sites and its plates."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions import constraints
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.distributions import biject_to

from pyro_impl.guides.joint import Local
from pyro_impl.guides.known import Known
from pyro_impl.programs.noise import WRAPPERS
from twinplate.errors import InputError
from twinplate.guides.known import check_whole, observed_name
from twinplate.guides.structure import (
    Frame,
    LatentSite,
    ModelStructure,
    read_structure,
    shared_plates,
)

Node = dict[str, Any]

DRAWS = 100  # of each prior, for its median


@dataclass(frozen=True)
class Reading:
    """One run of a model: its structure, and what of it is the framework's.

    supports: of local sites, without dims of a batch.  priors: their distributions in this run.
    shared: plates of more than one that all sites of the model are in, but for that of items.
    given_indices: whether the model itself says which items the mini-batch has.
    draws: values of latent sites in this run.
    """

    structure: ModelStructure
    supports: dict[str, constraints.Constraint]
    priors: dict[str, dist.TorchDistribution]
    shared: tuple[str, ...]
    given_indices: bool
    draws: dict[str, Tensor]

    def locals(self, plates: dict[str, Any], known: Known) -> dict[str, Local]:
        """The local sites in the model's order, in `plates`, by name; `known` as by `read_known`."""
        return {
            site.name: Local(
                self.supports[site.name],
                site.event_shape,
                [plates[p.name] for p in self.structure.extra_plates(site)],
                known.get(site.name),
            )
            for site in self.structure.local
        }

    def median(self) -> Tensor:
        """(J,): medians of the priors' unconstrained numbers, over draws and items."""
        sites = sorted(self.structure.local, key=lambda site: site.name)
        return torch.cat([self._median(site) for site in sites]).nan_to_num(0.0, 0.0, 0.0)

    def _median(self, site: LatentSite) -> Tensor:
        draws = self.priors[site.name].sample(torch.Size([DRAWS]))
        numbers = biject_to(self.supports[site.name]).inv(draws)
        assert site.image is not None
        batch = numbers.shape[1 : numbers.dim() - len(site.image)]
        extra = [len(batch) + p.dim for p in self.structure.extra_plates(site)]
        numbers = numbers.movedim([1 + place for place in extra], list(range(len(extra))))
        kept = (*numbers.shape[: len(extra)], -1, math.prod(site.image))
        return numbers.reshape(kept).median(-2).values.flatten()


def read_model(
    model: Callable[..., Any], plate: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Reading:
    """Run the model on its arguments, unseen by the handlers around, and read it.

    plate: the name of the plate of items. Raises InputError where a guide cannot be right.
    """
    with poutine.block(), torch.no_grad():
        nodes: dict[str, Any] = poutine.trace(model).get_trace(*args, **kwargs).nodes
    samples = {name: node for name, node in nodes.items() if node["type"] == "sample"}
    frames = {f.name: f for node in samples.values() for f in _frames(node)}
    latent = {
        name: node
        for name, node in samples.items()
        if not node["is_observed"] and not site_is_subsample(node)
    }
    sites = [_latent(name, node, samples) for name, node in latent.items()]
    structure = read_structure(sites, frames, plate)
    local = [site.name for site in structure.local]
    return Reading(
        structure,
        {name: _fixed_support(name, latent[name]["fn"]) for name in local},
        {name: latent[name]["fn"] for name in local},
        shared_plates(
            [_frames(node) for node in samples.values() if not site_is_subsample(node)], plate
        ),
        structure.items.is_subsampled and samples[plate]["fn"].subsample_size is None,
        {name: node["value"] for name, node in latent.items()} if structure.partly_observed else {},
    )


def read_known(
    model: Callable[..., Any],
    reading: Reading,
    index: Tensor | None,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Known:
    """Which entries of partly observed sites are known, by name, for the items of `index`, or None: all.

    The model is run once more, on these items; where no site is partly observed, nothing is done.
    """
    items, names = reading.structure.items, reading.structure.partly_observed
    if not names:
        return {}
    if index is None:
        check_whole(items)
    # Latents as they were drawn before: a guide that draws outside of its sites cannot be run again.
    fixed: Any = {**reading.draws, **({items.name: index} if items.is_subsampled else {})}
    with poutine.block(), torch.no_grad():
        trace = poutine.trace(poutine.condition(model, fixed)).get_trace(*args, **kwargs)
    nodes: dict[str, Any] = trace.nodes
    return {name: ~_mask_of(nodes[name]) for name in names}


def outside(model: Callable[..., Any], structure: ModelStructure) -> Callable[..., Any]:
    """The model of the continuous sites outside of the plate of items."""
    hidden = [site.name for site in structure.local]
    return poutine.block(model, hide=[*hidden, *structure.enumerated])


def _frames(node: Node) -> list[Frame]:
    found = []
    for frame in node["cond_indep_stack"]:
        if frame.dim is None:
            raise InputError(
                f"plate {frame.name!r} is sequential; expected a vectorised one: with pyro.plate(...)"
            )
        if frame.size < 0:
            raise InputError(f"plate {frame.name!r} has no size; say how many items it has")
        full_size = frame.full_size or frame.size
        found.append(Frame(frame.name, frame.dim, int(frame.size), int(full_size)))
    return found


def _latent(name: str, node: Node, samples: dict[str, Node]) -> LatentSite:
    fn = node["fn"]
    discrete = bool(fn.support.is_discrete)
    support, image = fn.support, None
    if not discrete:
        support = _fixed_support(name, fn)
        image = _image(support, tuple(fn.event_shape))
    masked = not bool(_mask_of(node).all())
    partly_observed = _is_partly_observed(name, node, samples)
    return LatentSite(
        name,
        tuple(_frames(node)),
        tuple(fn.batch_shape),
        tuple(fn.event_shape),
        image,
        _described(support),
        discrete,
        node["infer"].get("enumerate") == "parallel",
        masked and not partly_observed,
        partly_observed,
    )


def _image(support: constraints.Constraint, event_shape: tuple[int, ...]) -> tuple[int, ...] | None:
    try:
        return Local(support, event_shape).image
    except NotImplementedError:
        return None


def _mask_of(node: Node) -> Tensor:
    """Where the model has the density of a site: True everywhere, if there is no mask."""
    masks = [node["mask"]]
    fn = node["fn"]
    while isinstance(fn, WRAPPERS):
        masks.append(getattr(fn, "_mask", None))
        fn = fn.base_dist
    mask = torch.ones((), dtype=torch.bool)
    for one in masks:
        if one is not None:
            mask = torch.as_tensor(one) & mask
    return mask


def _is_partly_observed(name: str, node: Node, samples: dict[str, Node]) -> bool:
    """Whether the entries that are left out are just those that are observed at the site beside."""
    beside = samples.get(observed_name(name) or "")
    if beside is None or not beside["is_observed"]:
        return False
    return bool((_mask_of(beside) | _mask_of(node)).all())


def _fixed_support(name: str, fn: Any) -> constraints.Constraint:
    """The support without dims of a batch. Raises InputError for bounds that vary there."""
    return _without_batch(name, fn.support, len(fn.event_shape))


def _without_batch(name: str, support: Any, event_dim: int) -> Any:
    if isinstance(support, constraints.independent):
        base = _without_batch(name, support.base_constraint, event_dim)
        return constraints.independent(base, support.reinterpreted_batch_ndims)
    bounds = _bounds(support)
    if not any(isinstance(bound, Tensor) for bound in bounds):
        return support
    return type(support)(*(_one_bound(name, torch.as_tensor(b), event_dim) for b in bounds))


def _one_bound(name: str, bound: Tensor, event_dim: int) -> Tensor:
    rows = bound.reshape(-1, *bound.shape[max(bound.dim() - event_dim, 0) :])
    if not bool((rows == rows[0]).all()):
        raise InputError(
            f"the support of site {name!r} has other bounds in other entries of its plates; sample it from a "
            "fixed support, as Uniform(0, 1), and scale the value"
        )
    return rows[0]


def _bounds(support: Any) -> list[Any]:
    return [getattr(support, b) for b in ("lower_bound", "upper_bound") if hasattr(support, b)]


def _described(support: Any) -> str:
    """In words, bounds as numbers."""
    if isinstance(support, constraints.independent):
        return f"{_described(support.base_constraint)} of vectors"
    numbers = [b.tolist() if isinstance(b, Tensor) else b for b in _bounds(support)]
    return f"{type(support).__name__.strip('_')}{tuple(numbers)}" if numbers else str(support)
