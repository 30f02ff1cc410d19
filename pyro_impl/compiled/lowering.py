"""A recorded step for torch's compiler: traced once more, without content, Adam's update added."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from pyro_impl.compiled.adam import AdamUpdate
from pyro_impl.compiled.agreement import rewinding
from pyro_impl.compiled.clipping import Clip
from pyro_impl.compiled.errors import CannotCompileError
from pyro_impl.compiled.graph import Graph, mapped
from pyro_impl.compiled.onednn import PRODUCTS
from pyro_impl.torch_private import BATCH_NORM, CHECK_FACTORISATION, trace_operations

aten = torch.ops.aten


def _bernoulli(p: Tensor, *, generator: Any = None) -> Tensor:
    """As torch itself draws it; its compiler would compare uniform numbers, which are others."""
    return torch.empty_like(p).bernoulli_(p)


# What a graph holds in place of an operation.
OPERATIONS = {**PRODUCTS, **BATCH_NORM, aten.bernoulli.default: _bernoulli}


@dataclass(frozen=True)
class Lowered:
    """`module(*tensors, *arguments)`: losses that are tensors, and gradients where no update is added.

    tensors: what the step reads besides its arguments, and changes.
    """

    module: fx.GraphModule
    tensors: list[Tensor]


def lowered(
    graph: Graph, update: AdamUpdate | None, clip: Clip | None, inputs: Sequence[Tensor]
) -> Lowered:
    """The step on `inputs`: the numbers of the update, if there is one, and the step's arguments.

    clip: of the gradients before the update; without one they are returned as they are.

    Raises CannotCompileError for a step that depends on sizes or numbers of its tensors.
    """
    if (place := next((n.place for n in graph.nodes if n.expected), None)) is not None:
        raise CannotCompileError(
            f"Python needs a size or the value of a tensor, which machine code cannot look at{place}"
        )

    def step(*inputs: Tensor) -> list[Tensor]:
        numbers, arguments = (inputs[0], inputs[1:]) if update else (None, inputs)
        losses, gradients = _run(graph, arguments)
        if update is None or numbers is None:
            return losses + gradients
        if clip is not None:
            gradients = clip.cut_in_graph(update.leaves, gradients)
        update.apply(numbers, gradients)
        return losses

    # An operation on tensors with content alone, such as a counter that goes up by one, is carried out.
    rewind = rewinding([*graph.written, *([] if clip is None else clip.numbers)])
    counters = [] if update is None else update.counters()
    try:
        with torch.no_grad():  # gradients are operations of their own
            module = trace_operations(step, inputs, OPERATIONS)
    except Exception as error:
        text = str(error).strip().splitlines() or [""]
        raise CannotCompileError(
            f"it cannot be traced: {type(error).__name__}: {text[0]}"
        ) from error
    finally:
        rewind()
        if update is not None:
            update.set_counters(counters)
    return _with_arguments(module)


def _run(graph: Graph, arguments: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """The operations one by one: (losses, gradients)."""
    values: dict[int, Any] = dict(graph.held) | dict(zip(graph.inputs, arguments, strict=True))
    for root in graph.fixed.keys() & {root for node in graph.nodes for root in node.writes}:
        values[root] = values[root].clone()
    failed = []
    for node in graph.nodes:
        args, kwargs = (mapped(tree, values.__getitem__) for tree in (node.args, node.kwargs))
        if node.operation is CHECK_FACTORISATION:
            failed.append((args[0] != 0).any())
            continue
        result = node.operation(*args, **kwargs)
        results = [result] if node.alone else result
        values |= {n: r for n, r in zip(node.outputs, results, strict=True) if n is not None}
    # A factorisation that fails makes the loss nan: the check that raises would have to wait for its number,
    # and machine code cannot raise. A nan is found in the loss, by whoever looks at that.
    losses = [values[number] for number in graph.loss_numbers()]
    for check in failed:
        losses = [loss.masked_fill(check, math.nan) for loss in losses]
    return losses, [values[number] for number in graph.gradients]


def _with_arguments(module: fx.GraphModule) -> Lowered:
    """Tensors held by the module become its first arguments: they are read in every step."""
    graph = module.graph
    found: dict[int, tuple[Tensor, fx.Node]] = {}
    first = next(iter(graph.nodes))
    for node in [n for n in graph.nodes if n.op == "get_attr"]:
        tensor = getattr(module, node.target)
        if id(tensor) not in found:
            with graph.inserting_before(first):  # before the arguments that the program was given
                found[id(tensor)] = tensor, graph.placeholder(f"read_{len(found)}")
        node.replace_all_uses_with(found[id(tensor)][1])
        graph.erase_node(node)
    # A module of its own: tensors that the old one still holds would become arguments once more.
    return Lowered(fx.GraphModule(module, graph), [tensor for tensor, _ in found.values()])
