"""What a Pyro trace says about its sites and parameters, in words and arrays of no framework."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions.util import broadcast_shape
from torch import Tensor
from torch import distributions as td
from torch.distributions.utils import lazy_property

from pyro_impl.programs.noise import WRAPPERS, unwrapped
from pyro_impl.recording.constraints import BOUNDS, name_of
from twinplate.records.record import Array, Plate, Site
from twinplate.records.scales import scale_of

Node = dict[str, Any]

CIRCULAR = (dist.VonMises, dist.SineBivariateVonMises, dist.SineSkewed)  # to Pyro on the real line
_ANY_SIZE = -1  # of a plate that was given none


def score(node: Node) -> None:
    """Put the log densities (*batch_shape) of one sample site into its node: masked, not scaled."""
    if kind_of(node) == "deterministic":
        node["log_prob"] = torch.zeros(())
        return
    values = torch.as_tensor(node["fn"].log_prob(node["value"], *node["args"], **node["kwargs"]))
    if node["mask"] is not None:
        values = torch.where(torch.as_tensor(node["mask"]), values, values.new_zeros(()))
    node["log_prob"] = values


def sample_nodes(trace: poutine.Trace) -> dict[str, Node]:
    """Nodes of sample sites by name, without the draws of subsamples."""
    nodes: dict[str, Any] = trace.nodes  # in Pyro's own type a site's `fn` is any function
    return {
        name: node
        for name, node in nodes.items()
        if node["type"] == "sample" and not poutine.util.site_is_subsample(node)
    }


def make_sites(traces: Sequence[poutine.Trace], particles: int) -> dict[str, Site]:
    """Sites by name, in execution order, from one trace for each particle (fewer after a failure)."""
    found: dict[str, list[Node]] = {}
    for trace in traces:
        for name, node in sample_nodes(trace).items():
            found.setdefault(name, []).append(node)
    sizes = _found_sizes([nodes[0] for nodes in found.values()])
    return {name: make_site(nodes, particles, sizes) for name, nodes in found.items()}


def make_site(nodes: Sequence[Node], particles: int, sizes: Mapping[str, int]) -> Site:
    """The site of these nodes, one for each particle; `sizes` of plates that were given none."""
    node, fn = nodes[0], nodes[0]["fn"]
    batch_shape, event_shape = shapes(node)
    complete = len(nodes) == particles
    scored = complete and all("log_prob" in n for n in nodes)
    return Site(
        kind=kind_of(node),
        plates=plates_of(node, sizes),
        batch_shape=batch_shape,
        event_shape=event_shape,
        support=_support(fn),
        family=type(unwrapped(fn)).__name__,
        dtype=str(_numpy(node["value"]).dtype),
        scale=_scale(nodes, batch_shape),
        value=_stacked([n["value"] for n in nodes], batch_shape + event_shape, complete),
        log_prob=_stacked([n.get("log_prob") for n in nodes], batch_shape, scored),
        mask=_masks(nodes, batch_shape),
        arguments=_arguments(nodes, len(batch_shape)) if scored else {},
        parts={role: type(unwrapped(part)).__name__ for role, part, _ in _parts(fn)},
        enumerated=is_enumerated(node),
    )


def kind_of(node: Node) -> str:
    """Kind of the site, as in `twinplate.records.record.Site`."""
    if isinstance(unwrapped(node["fn"]), dist.Unit):
        return "factor"
    if node["infer"].get("_deterministic") or _is_computed(node):
        return "deterministic"
    if node["is_observed"]:
        return "observed"
    return "auxiliary" if node["infer"].get("is_auxiliary") else "latent"


def is_enumerated(node: Node) -> bool:
    """Whether the program asks for a sum over the values of a latent."""
    return kind_of(node) in ("latent", "auxiliary") and bool(node["infer"].get("enumerate"))


def _is_computed(node: Node) -> bool:
    """Whether a handler, as that of a reparametrisation, left a value here that nothing scores."""
    delta = node["is_observed"] and isinstance(unwrapped(node["fn"]), dist.Delta)
    return bool(delta) and getattr(node["fn"], "_mask", None) is False


def plates_of(node: Node, sizes: Mapping[str, int]) -> tuple[Plate, ...]:
    """Plates around the site, sorted by dim; sequential ones, which have no dim, are not among them.

    sizes: of plates that were given none, by name; such a plate is of any size to Pyro.
    """
    frames = sorted((f for f in node["cond_indep_stack"] if f.vectorized), key=lambda f: f.dim)
    return tuple(
        Plate(f.name, f.dim, sizes[f.name], sizes[f.name])
        if f.size == _ANY_SIZE
        else Plate(f.name, f.dim, int(f.full_size or f.size), int(f.size))
        for f in frames
    )


def _found_sizes(nodes: Sequence[Node]) -> dict[str, int]:
    """Sizes of the plates that were given none, by name: what the sites inside have at the plate's dim."""
    sizes: dict[str, int] = {}
    for node in nodes:
        batch_shape = shapes(node)[
            0
        ]  # empty of a deterministic value, which has no batch dims of its own
        for frame in node["cond_indep_stack"]:
            if frame.vectorized and frame.size == _ANY_SIZE:
                found = batch_shape[frame.dim] if len(batch_shape) >= -frame.dim else 1
                sizes[frame.name] = max(found, sizes.get(frame.name, 1))
    return sizes


def shapes(node: Node) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Batch and event shape. A deterministic value is one event."""
    if kind_of(node) == "deterministic":
        return (), tuple(node["value"].shape)
    scored = node["log_prob"].shape if "log_prob" in node else ()
    # Plates have expanded it. torch.broadcast_shapes imports torch's compiler at its first call.
    batch_shape = broadcast_shape(node["fn"].batch_shape, scored)
    return tuple(batch_shape), tuple(node["fn"].event_shape)


def to_array(values: Any) -> Array:
    """A copy, in its own type."""
    return np.array(_numpy(values))


def _numpy(values: Any) -> Array:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def _support(fn: Any) -> str:
    if isinstance(unwrapped(fn), CIRCULAR):
        return "circular"
    try:
        return name_of(fn.support)
    except NotImplementedError:
        return "unknown"


def _scale(nodes: Sequence[Node], batch_shape: tuple[int, ...]) -> float | Array:
    if kind_of(nodes[0]) == "deterministic":
        return 1.0
    return scale_of([_numpy(node["scale"]) for node in nodes], batch_shape)


def _mask(node: Node, batch_shape: tuple[int, ...]) -> Tensor | None:
    """True where a batch element counts, at least in part; None where nothing is masked."""
    if kind_of(node) == "deterministic":
        return None
    combined = torch.ones((), dtype=torch.bool)
    if node["mask"] is not None:
        combined = torch.as_tensor(node["mask"])
    fn = node["fn"]
    while isinstance(fn, WRAPPERS):
        if isinstance(fn, dist.MaskedDistribution):
            mask = torch.as_tensor(fn._mask)
            for _ in range(mask.ndim - len(batch_shape)):
                mask = mask.any(-1)
            combined = combined & mask
        fn = fn.base_dist
    return None if bool(combined.all()) else combined


def _masks(nodes: Sequence[Node], batch_shape: tuple[int, ...]) -> Array | None:
    masks = [_mask(node, batch_shape) for node in nodes]
    if all(mask is None for mask in masks):
        return None
    return _stacked([True if m is None else m for m in masks], batch_shape, True)


def _stacked(values: Sequence[Any], shape: tuple[int, ...], known: bool) -> Array | None:
    """(P, *shape), or None where it is not known for all particles or their shapes differ."""
    if not known or any(v is None for v in values):
        return None
    try:
        return np.stack([np.broadcast_to(to_array(v), shape) for v in values])
    except ValueError:
        return None


def _arguments(nodes: Sequence[Node], batch_dims: int) -> dict[str, Array]:
    """Of all particles; with ones in front, so that they broadcast to (P, *batch_shape, …)."""
    if kind_of(nodes[0]) == "deterministic":
        return {}
    given = [dict(_named(n["fn"], batch_dims)) for n in nodes]
    return {
        name: np.stack([g[name] for g in given])
        for name, values in given[0].items()
        if all(name in g and g[name].shape == values.shape for g in given)
    }


def _named(fn: Any, batch_dims: int) -> Iterator[tuple[str, Array]]:
    """Parameters of one particle, those of parts by role and name, with all batch dims in front."""
    base = unwrapped(fn)
    dims = batch_dims + len(fn.event_shape) - len(base.event_shape)
    for name, values in arguments(fn).items():
        missing = dims - (values.ndim - _event_dim(base, name))
        yield name, values.reshape((1,) * max(missing, 0) + values.shape)
    for role, part, more in _own_parts(base):
        for name, values in _named(part, dims + more):
            yield f"{role} {name}", values


def _parts(fn: Any) -> Iterator[tuple[str, Any, int]]:
    """Distributions that `fn` is made of, at any depth: role, distribution, batch dims more than its own."""
    for role, part, more in _own_parts(unwrapped(fn)):
        yield role, part, more
        for inner, one, dims in _parts(part):
            yield f"{role} {inner}", one, more + dims


def _own_parts(fn: Any) -> Iterator[tuple[str, Any, int]]:
    if isinstance(fn, dist.ZeroInflatedDistribution):
        yield "base", fn.base_dist, 0
    elif isinstance(fn, dist.MixtureSameFamily):
        mixing = fn.mixture_distribution
        # By which it was given: torch's mixture asks any for its logits.
        if "probs" in vars(mixing):
            mixing = dist.Categorical(mixing.probs, validate_args=False)
        yield "mixing", mixing, 0
        yield "component", fn.component_distribution, 1


def _event_dim(fn: Any, name: str) -> int:
    try:
        return fn.arg_constraints[name].event_dim if name in fn.arg_constraints else 0
    except NotImplementedError:  # the value of a delta: as many dims as its events have
        return len(fn.event_shape)


def arguments(fn: Any) -> dict[str, Array]:
    """Parameters of a distribution that it was given, by name; none that it derived from others."""
    fn = unwrapped(fn)
    found = {}
    names = {**fn.arg_constraints, "total_count": None}
    if isinstance(fn, dist.ZeroInflatedDistribution):  # what it has of its base is the base's
        names = dict.fromkeys(("gate", "gate_logits"))
    for name in names:
        holder = _holder(fn, name)
        if isinstance(getattr(type(holder), name, None), lazy_property):
            given = [n for n in vars(holder) if n in ("probs", "logits")] or [name]
            param = getattr(holder, "_param", vars(holder).get(given[0]))
            if name not in vars(holder) or (vars(holder)[name] is not param and name in given):
                continue
        values = getattr(holder, name, None)
        if isinstance(values, Tensor | int | float):
            found[name] = to_array(values)
    return found | _ends(fn)


def _ends(fn: Any) -> dict[str, Array]:
    """Where the interval ends to which affine maps bring values of a bounded one: `low` and `high`."""
    if not isinstance(fn, td.TransformedDistribution):
        return {}
    support = getattr(fn.base_dist, "support", None)
    if not all(hasattr(support, bound) for bound in BOUNDS):
        return {}
    ends = [torch.as_tensor(getattr(support, bound)) for bound in BOUNDS]
    for transform in fn.transforms:
        if not isinstance(transform, td.AffineTransform):
            return {}
        ends = [transform.loc + transform.scale * end for end in ends]
    return {"low": to_array(torch.minimum(*ends)), "high": to_array(torch.maximum(*ends))}


def _holder(fn: Any, name: str) -> Any:
    """The distribution inside `fn` that keeps its probabilities: a relaxed or a one-hot one has another."""
    while name in ("probs", "logits") and not isinstance(
        getattr(type(fn), name, None), lazy_property
    ):
        inner = getattr(fn, "_categorical", None) or getattr(fn, "base_dist", None)
        if inner is None:
            break
        fn = inner
    return fn
