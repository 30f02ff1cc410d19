"""A graph of tensor operations whose arguments are the tensors that the program read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from pyro_impl.torch_private import CHECK_FACTORISATION, declared_arguments

aten = torch.ops.aten


@dataclass(frozen=True)
class Graph:
    """`module(*tensors, *arguments)`.

    tensors: what the program reads besides its arguments.  written: those among them that it changes.
    """

    module: fx.GraphModule
    tensors: list[Tensor]
    written: list[Tensor]


def with_arguments(module: fx.GraphModule) -> Graph:
    """Tensors held by the module become its first arguments, but for the constants of its own code.

    A tensor that is held would be compiled in as it is now; an argument is read in every step. A literal,
    `torch.tensor(0.5)` in the code of the program, is nobody else's and is copied before use.
    """
    graph = module.graph
    found: dict[int, tuple[Tensor, fx.Node]] = {}
    _failures_as_nan(graph)
    first = next(iter(graph.nodes))
    for node in [n for n in graph.nodes if n.op == "get_attr"]:
        tensor = getattr(module, node.target)
        is_literal = all(u.target is aten.lift_fresh_copy.default for u in node.users)
        if not isinstance(tensor, Tensor) or is_literal:
            continue
        if id(tensor) not in found:
            with graph.inserting_before(first):  # before the arguments that the program was given
                found[id(tensor)] = tensor, graph.placeholder(f"read_{len(found)}")
        node.replace_all_uses_with(found[id(tensor)][1])
        graph.erase_node(node)
    # A module of its own: tensors that the old one still holds would become arguments once more.
    module = fx.GraphModule(module, graph)
    changed = _changed(graph)
    written = [tensor for tensor, node in found.values() if node in changed]
    return Graph(module, [tensor for tensor, _ in found.values()], written)


def _failures_as_nan(graph: fx.Graph) -> None:
    """A factorisation that fails makes the loss nan.

    The check that raises would have to wait for its number, and machine code cannot raise. A nan is found in
    the loss, by whoever looks at that.
    """
    checks = [n for n in graph.nodes if n.target is CHECK_FACTORISATION]
    if not checks:
        return
    (output,) = graph.find_nodes(op="output")
    alone = isinstance(output.args[0], fx.Node)
    loss, *gradients = [output.args[0]] if alone else output.args[0]
    with graph.inserting_before(output):
        for check in checks:
            failed = graph.call_function(aten.ne.Scalar, (check.args[0], 0))
            failed = graph.call_function(aten.any.default, (failed,))
            loss = graph.call_function(aten.masked_fill.Scalar, (loss, failed, math.nan))
            graph.erase_node(check)
    output.args = (loss,) if alone else ((loss, *gradients),)


def _changed(graph: fx.Graph) -> set[fx.Node]:
    """Nodes that an operation writes into, through views of them too."""
    changed = set()
    for node in graph.nodes:
        for value, argument in _arguments(node):
            if is_written(argument):
                changed |= set(_origins(value))
    return changed


def is_written(argument: Any) -> bool:
    """Whether an operation writes into this argument of its schema."""
    return argument.alias_info is not None and argument.alias_info.is_write


def _origins(node: Any) -> Iterator[fx.Node]:
    """The node, what it is a view of, and so on."""
    while isinstance(node, fx.Node):
        yield node
        aliased = (v for v, argument in _arguments(node) if argument.alias_info is not None)
        node = next(aliased, None)


def _arguments(node: fx.Node) -> list[tuple[Any, Any]]:
    """Each argument of a node beside its declaration."""
    declared = declared_arguments(node.target)
    named = [(node.kwargs[a.name], a) for a in declared if a.name in node.kwargs]
    return [*zip(node.args, declared, strict=False), *named]
