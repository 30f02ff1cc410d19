"""What a run of a NumPyro model shows of its latent sites and its plates."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import Array
from numpyro import handlers
from numpyro.distributions import biject_to, constraints

from numpyro_impl.guides.joint import Local
from numpyro_impl.guides.known import Known
from numpyro_impl.programs.noise import WRAPPERS
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
    """

    structure: ModelStructure
    supports: dict[str, constraints.Constraint]
    priors: dict[str, dist.Distribution]
    shared: tuple[str, ...]

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

    def median(self, key: Array) -> Array:
        """(J,): medians of the priors' unconstrained numbers, over draws and items."""
        sites = sorted(self.structure.local, key=lambda site: site.name)
        keys = jax.random.split(key, len(sites))
        medians = [self._median(site, k) for site, k in zip(sites, keys, strict=True)]
        return jnp.nan_to_num(jnp.concatenate(medians), nan=0.0, posinf=0.0, neginf=0.0)

    def _median(self, site: LatentSite, key: Array) -> Array:
        draws = self.priors[site.name].sample(key, (DRAWS,))
        numbers = biject_to(self.supports[site.name]).inv(draws)
        assert site.image is not None
        batch = numbers.shape[1 : numbers.ndim - len(site.image)]
        extra = [len(batch) + p.dim for p in self.structure.extra_plates(site)]
        numbers = jnp.moveaxis(numbers, [1 + place for place in extra], tuple(range(len(extra))))
        kept = (*numbers.shape[: len(extra)], -1, math.prod(site.image))
        return jnp.median(numbers.reshape(kept), -2).ravel()


def read_model(
    model: Callable[..., Any], plate: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Reading:
    """Run the model on its arguments, unseen by the handlers around, and read it.

    plate: the name of the plate of items. Raises InputError where a guide cannot be right.
    """
    key = numpyro.prng_key()
    with handlers.block():
        seeded = handlers.seed(model, jax.random.key(0) if key is None else key)
        nodes = handlers.trace(seeded).get_trace(*args, **kwargs)
    samples = {name: node for name, node in nodes.items() if node["type"] == "sample"}
    full = {name: node["args"][0] for name, node in nodes.items() if node["type"] == "plate"}
    frames = {f.name: f for node in samples.values() for f in _frames(node, full)}
    latent = {name: node for name, node in samples.items() if not node["is_observed"]}
    sites = [_latent(name, node, full, samples) for name, node in latent.items()]
    structure = read_structure(sites, frames, plate)
    local = [site.name for site in structure.local]
    return Reading(
        structure,
        {name: _fixed_support(name, latent[name]["fn"]) for name in local},
        {name: latent[name]["fn"] for name in local},
        shared_plates([_frames(node, full) for node in samples.values()], plate),
    )


def read_known(
    model: Callable[..., Any],
    reading: Reading,
    index: Array | None,
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
    fixed = {items.name: index} if items.is_subsampled else {}
    with handlers.block():
        seeded = handlers.seed(handlers.substitute(model, fixed), 0)
        nodes = handlers.trace(seeded).get_trace(*args, **kwargs)
    return {name: ~jnp.asarray(_mask_of(nodes[name])) for name in names}


def outside(model: Callable[..., Any], structure: ModelStructure) -> Callable[..., Any]:
    """The model of the continuous sites outside of the plate of items.

    Without deterministics: NumPyro's guides give those of a run in which the local sites are drawn anew.
    """
    hidden = {*(site.name for site in structure.local), *structure.enumerated}

    def is_hidden(node: Node) -> bool:
        return node["type"] == "deterministic" or node.get("name") in hidden

    return handlers.block(model, is_hidden)


def _frames(node: Node, full: dict[str, int]) -> list[Frame]:
    stack = node["cond_indep_stack"]
    return [Frame(f.name, f.dim, int(f.size), int(full.get(f.name, f.size))) for f in stack]


def _latent(name: str, node: Node, full: dict[str, int], samples: dict[str, Node]) -> LatentSite:
    fn = node["fn"]
    discrete = bool(fn.support.is_discrete)
    support, image = fn.support, None
    if not discrete:
        support = _fixed_support(name, fn)
        image = _image(support, tuple(fn.event_shape))
    masked = not _is_true(_mask_of(node))
    partly_observed = _is_partly_observed(name, node, samples)
    return LatentSite(
        name,
        tuple(_frames(node, full)),
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


def _mask_of(node: Node) -> Any:
    """Where the model has the density of a site: True everywhere, if there is no mask."""
    fn, mask = node["fn"], np.True_  # which JAX does not trace
    while isinstance(fn, WRAPPERS):
        mask = mask & getattr(fn, "_mask", np.True_)
        fn = fn.base_dist
    return mask


def _is_partly_observed(name: str, node: Node, samples: dict[str, Node]) -> bool:
    """Whether the entries that are left out are just those that are observed at the site beside.

    Of masks that are only known when compiled code runs, it is taken for granted.
    """
    beside = samples.get(observed_name(name) or "")
    if beside is None or not beside["is_observed"]:
        return False
    known = _mask_of(beside) | _mask_of(node)
    return isinstance(known, jax.core.Tracer) or _is_true(known)


def _is_true(mask: Any) -> bool:
    """Whether nothing is masked; what is only known when compiled code runs counts as masked."""
    return not isinstance(mask, jax.core.Tracer) and bool(np.all(mask))


def _fixed_support(name: str, fn: Any) -> constraints.Constraint:
    """The support without dims of a batch. Raises InputError for bounds that vary there."""
    return _without_batch(name, fn.support, len(fn.event_shape))


def _without_batch(name: str, support: Any, event_dim: int) -> Any:
    if isinstance(support, constraints.independent):
        base = _without_batch(name, support.base_constraint, event_dim)
        return constraints.independent(base, support.reinterpreted_batch_ndims)
    bounds = _bounds(support)
    if all(jnp.ndim(bound) <= event_dim for bound in bounds):
        return support
    return type(support)(*(_one_bound(name, jnp.asarray(b), event_dim) for b in bounds))


def _one_bound(name: str, bound: Array, event_dim: int) -> Array:
    rows = bound.reshape(-1, *bound.shape[max(bound.ndim - event_dim, 0) :])
    if len(rows) > 1 and (isinstance(rows, jax.core.Tracer) or not bool((rows == rows[0]).all())):
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
    numbers = [
        b if isinstance(b, jax.core.Tracer) else np.asarray(b).tolist() for b in _bounds(support)
    ]
    return f"{type(support).__name__.strip('_')}{tuple(numbers)}" if numbers else str(support)
