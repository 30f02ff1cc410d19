"""`predict`: draws of latent sites and of new data for every item, those of guide and model paired."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from twinplate.errors import InputError
from twinplate.guides.arguments import untrained
from twinplate.guides.blocks import index_blocks
from twinplate.guides.known import observed_name
from twinplate.guides.structure import Frame

Node = dict[str, Any]


@torch.no_grad()
def predict(
    model: Callable[..., Any],
    guide: Callable[..., Any],
    *args: Any,
    plate: str,
    num_samples: int = 100,
    **kwargs: Any,
) -> dict[str, Tensor]:
    """Draws of the guide's posterior, and of data from the model at them, for all items of `plate`.

    Model and guide are called with `args` and `kwargs`: those of new items, one or any number. If the call
    subsamples the plate, its items are taken block by block, each with the same indices in both (with
    `Predictive` a latent would be drawn for one item and its data for another); a draw of the sites outside
    of the plate is the same in all blocks. Observed sites are drawn, not returned as given, but for what
    `obs_mask` says is known of a latent site: a site `z` has the known entries and draws of the others.

    Numbers are drawn for a block at once: the same seed gives the same draws for blocks of one size, and
    other draws, of the same distribution, for blocks of another.

    Returns values by name, (num_samples, ...), all items at the dim of the plate. Raises InputError for a
    plate that the model has not, or with given indices, and for parameters that the store has not.

    >>> import pyro, pyro.distributions as dist
    >>> def model(x, batch_size=None):
    ...     with pyro.plate("items", len(x), batch_size):
    ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
    ...         pyro.sample("x", dist.Normal(z, 1.0), obs=pyro.subsample(x, event_dim=0))
    >>> def guide(x, batch_size=None):
    ...     with pyro.plate("items", len(x), batch_size):
    ...         pyro.sample("z", dist.Normal(pyro.subsample(x, event_dim=0) / 2, 0.7))
    >>> draws = predict(model, guide, torch.zeros(5), batch_size=2, plate="items", num_samples=10)
    >>> tuple(draws["z"].shape), tuple(draws["x"].shape)
    ((10, 5), (10, 5))
    """
    with _none_made_anew():
        items = _plate_of_items(model, plate, args, kwargs)
        draws = [_draw(model, guide, args, kwargs, items) for _ in range(num_samples)]
    return {name: torch.stack([draw[name] for draw in draws]) for name in draws[0]}


@contextmanager
def _none_made_anew() -> Iterator[None]:
    """Raise InputError if the store has more parameters in the end; it is left as it was."""
    store = pyro.get_param_store()
    before = {*store.keys()}
    try:
        yield
        made = {*store.keys()} - before
        if made:
            raise InputError(untrained(sorted(made)))
    finally:
        for name in {*store.keys()} - before:
            del store[name]


def _plate_of_items(model: Any, plate: str, args: Any, kwargs: Any) -> Frame:
    with poutine.block():
        nodes: dict[str, Any] = poutine.trace(model).get_trace(*args, **kwargs).nodes
    frames = [f for n in nodes.values() if n["type"] == "sample" for f in n["cond_indep_stack"]]
    frame = next((f for f in frames if f.name == plate), None)
    if frame is None:
        raise InputError(f"the model has no plate {plate!r} around a site")
    full_size = frame.full_size or frame.size
    if frame.size != full_size and nodes[plate]["fn"].subsample_size is None:
        raise InputError(
            f"the model gives plate {plate!r} its indices (subsample=...); call it with all items, or let "
            "the plate draw its mini-batch"
        )
    return Frame(plate, frame.dim, frame.size, full_size)


def _draw(model: Any, guide: Any, args: Any, kwargs: Any, items: Frame) -> dict[str, Tensor]:
    """One draw of every site, of all items."""
    outside: dict[str, Tensor] = {}
    blocks: list[dict[str, Tensor]] = []
    dims: dict[str, int] = {}
    for indices, kept in index_blocks(items):
        fixed = {items.name: torch.as_tensor(indices)} if items.is_subsampled else {}
        drawn = _samples(poutine.condition(guide, {**fixed, **outside}), args, kwargs)
        latent = {name: node["value"] for name, node in drawn.items()}
        known = _known(model, {**fixed, **latent}, args, kwargs)
        model_again = poutine.condition(poutine.uncondition(model), {**fixed, **latent, **known})
        nodes = {**drawn, **_samples(model_again, args, kwargs)}
        dims = {n: d for n, node in nodes.items() if (d := _dim(node, items.name)) is not None}
        outside |= {n: node["value"] for n, node in nodes.items() if n not in dims}
        blocks.append({n: nodes[n]["value"].narrow(dims[n], 0, kept) for n in dims})
    return {**outside, **{n: torch.cat([b[n] for b in blocks], d) for n, d in dims.items()}}


def _known(model: Any, given: dict[str, Tensor], args: Any, kwargs: Any) -> dict[str, Tensor]:
    """The values by `obs_mask` of sites that the guide has drawn the rest of."""
    names = {name for site in given if (name := observed_name(site))}
    if not names:
        return {}
    nodes = _samples(poutine.condition(model, given), args, kwargs)
    return {name: nodes[name]["value"] for name in names & {*nodes}}


def _samples(program: Any, args: Any, kwargs: Any) -> dict[str, Node]:
    with poutine.block():
        nodes: dict[str, Any] = poutine.trace(program).get_trace(*args, **kwargs).nodes
    return {
        name: node
        for name, node in nodes.items()
        if node["type"] == "sample" and not site_is_subsample(node)
    }


def _dim(node: Node, plate: str) -> int | None:
    """Where a site's value has the items of the plate, counted from the right; None outside of it."""
    dims = [f.dim for f in node["cond_indep_stack"] if f.name == plate]
    return dims[0] - len(node["fn"].event_shape) if dims else None
