"""`predict`: draws of latent sites and of new data for every item, those of guide and model paired."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from numpyro import handlers

from twinplate.errors import InputError
from twinplate.guides.arguments import untrained
from twinplate.guides.blocks import index_blocks
from twinplate.guides.known import observed_name, whole_name
from twinplate.guides.structure import Frame

Node = dict[str, Any]


def predict(
    rng_key: Array,
    params: dict[str, Any],
    model: Callable[..., Any],
    guide: Callable[..., Any],
    *args: Any,
    plate: str,
    num_samples: int = 100,
    **kwargs: Any,
) -> dict[str, Array]:
    """Draws of the guide's posterior, and of data from the model at them, for all items of `plate`.

    Model and guide are called with `args` and `kwargs`: those of new items, one or any number. If the call
    subsamples the plate, its items are taken block by block, each with the same indices in both (with
    `Predictive` a latent would be drawn for one item and its data for another); a draw of the sites outside
    of the plate is the same in all blocks. Observed sites are drawn, not returned as given, but for what
    `obs_mask` says is known of a latent site: a site `z` has the known entries and draws of the others.

    Numbers are drawn for a block at once: the same key gives the same draws for blocks of one size, and
    other draws, of the same distribution, for blocks of another.

    params: of guide and model; all of them, since an untrained one would be made up, from the items at hand.

    Returns values by name, (num_samples, ...), all items at the dim of the plate. Raises InputError for a
    plate that the model has not, and for parameters that are missing.

    >>> import numpyro, numpyro.distributions as dist
    >>> def model(x, batch_size=None):
    ...     with numpyro.plate("items", len(x), batch_size):
    ...         z = numpyro.sample("z", dist.Normal(0.0, 1.0))
    ...         numpyro.sample("x", dist.Normal(z, 1.0), obs=numpyro.subsample(x, event_dim=0))
    >>> def guide(x, batch_size=None):
    ...     with numpyro.plate("items", len(x), batch_size):
    ...         numpyro.sample("z", dist.Normal(numpyro.subsample(x, event_dim=0) / 2, 0.7))
    >>> key, x = jax.random.key(0), jnp.zeros(5)
    >>> draws = predict(key, {}, model, guide, x, batch_size=2, plate="items", num_samples=10)
    >>> tuple(draws["z"].shape), tuple(draws["x"].shape)
    ((10, 5), (10, 5))
    """
    model, guide = (_Trained(program, params) for program in (model, guide))
    items = _plate_of_items(model, plate, args, kwargs)
    keys = jax.random.split(rng_key, num_samples)
    return jax.vmap(lambda key: _draw(key, model, guide, args, kwargs, items))(keys)


class _Trained(handlers.substitute):
    """A program with its parameters, that makes none of them itself."""

    def process_message(self, msg: Any) -> None:
        super().process_message(msg)
        if msg["type"] == "param" and msg["value"] is None:
            raise InputError(untrained([msg["name"]]))


def _plate_of_items(model: Any, plate: str, args: Any, kwargs: Any) -> Frame:
    with handlers.block():
        nodes = handlers.trace(handlers.seed(model, 0)).get_trace(*args, **kwargs)
    frames = [f for n in nodes.values() if n["type"] == "sample" for f in n["cond_indep_stack"]]
    frame = next((f for f in frames if f.name == plate), None)
    if frame is None:
        raise InputError(f"the model has no plate {plate!r} around a site")
    return Frame(plate, frame.dim, frame.size, nodes[plate]["args"][0])


def _draw(
    key: Array, model: Any, guide: Any, args: Any, kwargs: Any, items: Frame
) -> dict[str, Array]:
    """One draw of every site, of all items."""
    outside: dict[str, Array] = {}
    blocks: list[dict[str, Array]] = []
    dims: dict[str, int] = {}
    for indices, kept in index_blocks(items):
        key, guide_key, model_key = jax.random.split(key, 3)
        fixed = {items.name: jnp.asarray(indices)} if items.is_subsampled else {}
        again = handlers.substitute(guide, data={**fixed, **outside})
        drawn = _samples(handlers.seed(again, guide_key), args, kwargs)
        latent = {name: node["value"] for name, node in drawn.items()}
        known = _known(handlers.seed(model, model_key), {**fixed, **latent}, args, kwargs)
        given = {**fixed, **latent, **known}
        again = handlers.substitute(handlers.uncondition(model), data=given)
        nodes = {**drawn, **_samples(handlers.seed(again, model_key), args, kwargs)}
        dims = {n: d for n, node in nodes.items() if (d := _dim(node, items.name)) is not None}
        outside |= {n: node["value"] for n, node in nodes.items() if n not in dims}
        blocks.append(
            {n: jax.lax.slice_in_dim(nodes[n]["value"], 0, kept, axis=dims[n]) for n in dims}
        )
    return {**outside, **{n: jnp.concatenate([b[n] for b in blocks], d) for n, d in dims.items()}}


def _known(model: Any, given: dict[str, Array], args: Any, kwargs: Any) -> dict[str, Array]:
    """The values by `obs_mask` of sites that the guide has drawn the rest of."""
    names = {name for site in given if (name := observed_name(site))}
    if not names:
        return {}
    nodes = _samples(handlers.substitute(model, data=given), args, kwargs)
    return {name: nodes[name]["value"] for name in names & {*nodes}}


def _samples(program: Any, args: Any, kwargs: Any) -> dict[str, Node]:
    """Sampled sites, and those that are made of a known and an unknown part, by name."""
    with handlers.block():
        nodes = handlers.trace(program).get_trace(*args, **kwargs)
    samples = {name: node for name, node in nodes.items() if node["type"] == "sample"}
    for name, node in list(samples.items()):
        whole = nodes.get(whole_name(name) or "")
        if whole is not None and whole["type"] == "deterministic":
            samples[whole["name"]] = {**node, "value": whole["value"]}
    return samples


def _dim(node: Node, plate: str) -> int | None:
    """Where a site's value has the items of the plate, counted from the right; None outside of it."""
    dims = [f.dim for f in node["cond_indep_stack"] if f.name == plate]
    return dims[0] - len(node["fn"].event_shape) if dims else None
