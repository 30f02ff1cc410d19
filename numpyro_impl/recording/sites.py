"""What a NumPyro trace says about every site, in words and numbers that both frameworks share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array

from numpyro_impl.programs.noise import WRAPPERS, unwrapped
from numpyro_impl.recording.constraints import BOUNDS, name_of
from numpyro_impl.recording.replay import drawn_dtype
from twinplate.records.record import Plate, Site
from twinplate.records.scales import scale_of

Node = dict[str, Any]

# A matrix that was given, and what the distribution derives from it on construction.
DERIVED = {"covariance_matrix": "scale_tril", "precision_matrix": "scale_tril"}

_STATIC = {"static": True}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TracedSite:
    """A site of one particle as a JAX tree: its arrays, and what is fixed while JAX traces.

    Mapping over particles adds axis 0 to the arrays. Fields as those of `twinplate.records.record.Site`.
    """

    name: str = field(metadata=_STATIC)
    kind: str = field(metadata=_STATIC)
    plates: tuple[Plate, ...] = field(metadata=_STATIC)
    batch_shape: tuple[int, ...] = field(metadata=_STATIC)
    event_shape: tuple[int, ...] = field(metadata=_STATIC)
    support: str = field(metadata=_STATIC)
    family: str = field(metadata=_STATIC)
    dtype: str = field(metadata=_STATIC)
    value: Array
    log_prob: Array
    mask: Array | None
    scale: Array
    arguments: dict[str, Array]
    parts: tuple[tuple[str, str], ...] = field(default=(), metadata=_STATIC)
    enumerated: bool = field(default=False, metadata=_STATIC)

    def site(self) -> Site:
        """The site with NumPy arrays."""
        mask = None if self.mask is None else np.asarray(self.mask)
        return Site(
            self.kind,
            self.plates,
            self.batch_shape,
            self.event_shape,
            self.support,
            self.family,
            self.dtype,
            scale_of(list(np.asarray(self.scale)), self.batch_shape),
            np.asarray(self.value),
            np.asarray(self.log_prob),
            None if mask is None or mask.all() else mask,
            {name: np.asarray(values) for name, values in self.arguments.items()},
            dict(self.parts),
            self.enumerated,
        )


def traced_sites(trace: dict[str, Any]) -> tuple[TracedSite, ...]:
    """All sample and deterministic sites of a trace, in execution order."""
    sizes = {name: node["args"][0] for name, node in trace.items() if node["type"] == "plate"}
    return tuple(
        traced_site(node, sizes)
        for node in trace.values()
        if node["type"] in ("sample", "deterministic")
    )


def traced_site(node: Node, sizes: dict[str, int]) -> TracedSite:
    """One site; `sizes` holds the full size of every plate by name."""
    plates = _plates(node, sizes)
    if node["type"] == "deterministic":
        return _deterministic(node, plates)
    fn, value = node["fn"], jnp.asarray(node["value"])
    density = log_prob(node)
    batch, event = jnp.broadcast_shapes(fn.batch_shape, density.shape), tuple(fn.event_shape)
    drawn = not node["is_observed"] and jnp.issubdtype(value.dtype, jnp.floating)
    return TracedSite(
        node["name"],
        kind_of(node),
        plates,
        batch,
        event,
        _support(fn),
        type(unwrapped(fn)).__name__,
        str(drawn_dtype(fn, value) if drawn else value.dtype),
        jnp.broadcast_to(value, batch + event),
        jnp.broadcast_to(density, batch),
        _mask(fn, batch),
        jnp.asarray(1.0 if node["scale"] is None else node["scale"]),
        dict(_named(fn, len(batch))),
        tuple((role, type(unwrapped(part)).__name__) for role, part, _ in _parts(fn)),
        is_enumerated(node),
    )


def partial_sites(trace: dict[str, Any]) -> dict[str, Site]:
    """Sites of a run that stopped, of one particle: with numbers where there are any."""
    sizes = {name: node["args"][0] for name, node in trace.items() if node["type"] == "plate"}
    sites = {}
    for name, node in trace.items():
        if node["type"] not in ("sample", "deterministic"):
            continue
        try:
            traced = traced_site(node, sizes)
            sites[name] = jax.tree.map(lambda x: x[None], traced).site()
        except Exception:  # this may be the very site at which the run stopped
            sites[name] = _without_numbers(node, sizes)
    return sites


def _without_numbers(node: Node, sizes: dict[str, int]) -> Site:
    fn, dtype = node["fn"], str(jnp.result_type(node["value"]))
    return Site(
        kind_of(node),
        _plates(node, sizes),
        tuple(fn.batch_shape),
        tuple(fn.event_shape),
        _support(fn),
        type(unwrapped(fn)).__name__,
        dtype,
        1.0,
        enumerated=is_enumerated(node),
    )


def _plates(node: Node, sizes: dict[str, int]) -> tuple[Plate, ...]:
    frames = sorted(node["cond_indep_stack"], key=lambda frame: frame.dim)
    return tuple(Plate(f.name, f.dim, sizes.get(f.name, f.size), f.size) for f in frames)


def _deterministic(node: Node, plates: tuple[Plate, ...]) -> TracedSite:
    value = jnp.asarray(node["value"])
    return TracedSite(
        node["name"],
        "deterministic",
        plates,
        (),
        value.shape,
        "real",
        "Delta",
        str(value.dtype),
        value,
        jnp.zeros(()),
        None,
        jnp.ones(()),
        {},
    )


def kind_of(node: Node) -> str:
    """ "factor", "observed", "auxiliary" or "latent"."""
    if isinstance(unwrapped(node["fn"]), dist.Unit):
        return "factor"
    if node["is_observed"]:
        return "observed"
    return "auxiliary" if node["infer"].get("is_auxiliary") else "latent"


def is_enumerated(node: Node) -> bool:
    """Whether the program asks for a sum over the values of a latent."""
    return kind_of(node) in ("latent", "auxiliary") and bool(node["infer"].get("enumerate"))


def log_prob(node: Node) -> Array:
    """Log density element by element, zero where masked, not scaled."""
    remembered = (node["intermediates"],) if node["intermediates"] else ()
    return jnp.asarray(node["fn"].log_prob(node["value"], *remembered))


def _support(fn: Any) -> str:
    try:
        return name_of(fn.support)
    except NotImplementedError:
        return "unknown"


def _mask(fn: Any, batch_shape: tuple[int, ...]) -> Array | None:
    """True where a batch element counts, at least in part; None without a mask."""
    combined = None
    while isinstance(fn, WRAPPERS):
        if isinstance(fn, dist.MaskedDistribution):
            mask = jnp.asarray(fn._mask)
            extra = max(0, mask.ndim - len(batch_shape))
            mask = mask.any(tuple(range(mask.ndim - extra, mask.ndim))) if extra else mask
            mask = jnp.broadcast_to(mask, batch_shape)
            combined = mask if combined is None else combined & mask
        fn = fn.base_dist
    return combined


def _named(fn: Any, batch_dims: int) -> Iterator[tuple[str, Array]]:
    """Parameters as they were given, those of parts by role and name, with all batch dims in front."""
    base = unwrapped(fn)
    dims = batch_dims + len(fn.event_shape) - len(base.event_shape)
    derived = {DERIVED[name] for name in DERIVED if name in vars(base)}
    if isinstance(base, dist.ZeroInflatedProbs):  # what it has of its base is the base's
        derived |= base.arg_constraints.keys() - {"gate", "gate_logits"}
    for name, constraint in base.arg_constraints.items():
        # NegativeBinomial2 keeps none of its mean.
        values = base.mean if name == "mean" else vars(base).get(name)
        if values is None or name in derived:
            continue
        values = jnp.asarray(values)
        missing = dims + _event_dim(base, constraint) - values.ndim
        yield name, values.reshape((1,) * max(0, missing) + values.shape)
    for name, end in _ends(base).items():
        yield name, end.reshape((1,) * max(0, dims - end.ndim) + end.shape)
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
    if isinstance(fn, dist.ZeroInflatedProbs):
        yield "base", fn.base_dist, 0
    elif isinstance(fn, dist.MixtureSameFamily):
        yield "mixing", fn.mixing_distribution, 0
        yield "component", fn.component_distribution, 1


def _ends(fn: Any) -> dict[str, Array]:
    """Where the interval ends to which affine maps bring values of a bounded one: `low` and `high`."""
    if not isinstance(fn, dist.TransformedDistribution):
        return {}
    support = fn.base_dist.support
    if not all(hasattr(support, bound) for bound in BOUNDS):
        return {}
    ends = [jnp.asarray(getattr(support, bound)) for bound in BOUNDS]
    for transform in fn.transforms:
        if not isinstance(transform, dist.transforms.AffineTransform):
            return {}
        ends = [transform.loc + transform.scale * end for end in ends]
    return {"low": jnp.minimum(*ends), "high": jnp.maximum(*ends)}


def _event_dim(fn: Any, constraint: Any) -> int:
    try:
        return int(constraint.event_dim)
    except NotImplementedError:  # the value of a delta: as many dims as its events have
        return len(fn.event_shape)
