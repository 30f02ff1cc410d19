"""What a graph can do without: dead operations, operations done twice, constants.

Where memory is written into, all that touches it stays as it was recorded, in its order: what an operation
gives then depends on when it comes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from pyro_impl.compiled.graph import Graph, Node, Value, mapped


def cleaned(graph: Graph) -> Graph:
    """The same step with fewer operations; the numbers of its results are the same to the bit."""
    return _without_dead(_with_constants(_without_twins(graph)))


def _touches(graph: Graph, node: Node, written: set[int]) -> bool:
    """Whether a node reads or makes memory that is written into, or does what is not to be doubled."""
    numbers = {*node.takes(), *(n for n in node.outputs if n is not None)}
    return node.random or any(graph.roots[n] in written for n in numbers)


def _written(graph: Graph) -> set[int]:
    return {root for node in graph.nodes for root in node.writes}


def _without_twins(graph: Graph) -> Graph:
    """The second of two equal operations gives what the first gave."""
    written, nodes = _written(graph), []
    first: dict[Any, Node] = {}
    instead: dict[int, int] = {}

    def current(tree: Any) -> Any:
        return mapped(tree, lambda n: Value(instead.get(n, n)))

    for node in graph.nodes:
        node = replace(node, args=current(node.args), kwargs=current(node.kwargs))
        fresh = node.operation is not None and not node.operation.__name__.startswith(
            ("empty", "new_empty")
        )
        if fresh and not node.expected and not _touches(graph, node, written):
            key = node.operation, _key(node.args), _key(node.kwargs)
            twin = first.setdefault(key, node)
            if twin is not node:
                pairs = zip(node.outputs, twin.outputs, strict=True)
                instead |= {a: b for a, b in pairs if a is not None and b is not None}
                continue
        nodes.append(node)
    return replace(
        graph,
        nodes=nodes,
        losses=current(graph.losses),
        gradients=[instead.get(n, n) for n in graph.gradients],
    )


def _key(tree: Any) -> Any:
    """Of arguments; equal where they are the same, 1 and 1.0 and True apart, 0.0 and -0.0 too."""
    if isinstance(tree, Value):
        return tree
    if isinstance(tree, list | tuple):
        return (type(tree), *map(_key, tree))
    if isinstance(tree, dict):
        return tuple((k, _key(v)) for k, v in tree.items())
    return id(tree) if isinstance(tree, Tensor) else (type(tree), repr(tree))


def _with_constants(graph: Graph) -> Graph:
    """What is made of constants alone is one, as long as it is small and nobody writes into it."""
    written, nodes = _written(graph), []
    fixed = {n: t for n, t in graph.fixed.items() if n in graph.held}
    free = {n for n in fixed if graph.roots[n] not in written}
    for node in graph.nodes:
        makes = node.makes()
        constant = (
            makes
            and not node.expected
            and all(n in graph.fixed for n in makes)
            and free.issuperset(node.takes())
            and not _touches(graph, node, written)
        )
        if constant:
            free.update(makes)
            fixed |= {n: graph.fixed[n] for n in makes}
        else:
            nodes.append(node)
    return replace(graph, nodes=nodes, fixed=fixed, held=graph.held | fixed)


def _without_dead(graph: Graph) -> Graph:
    """Only what leads to a result, draws, is confirmed, raises, or writes where it lasts or is read."""
    outside = {graph.roots[n] for n in (*graph.inputs, *graph.held) if n not in graph.fixed}
    live = set(graph.results())
    roots = {graph.roots[n] for n in live} | outside
    nodes = []
    for node in reversed(graph.nodes):
        silent = all(
            n is None for n in node.outputs
        )  # it raises, or is asked for what it told Python
        makes = node.makes()
        needed = node.random or node.expected or silent or not live.isdisjoint(makes)
        if needed or not roots.isdisjoint(node.writes):
            nodes.append(node)
            live.update(node.takes())
            roots.update(graph.roots[n] for n in node.takes())
    used = {n for n in graph.held if n in live}
    held = {n: graph.held[n] for n in graph.held if n in used}
    return replace(
        graph,
        nodes=nodes[::-1],
        held=held,
        fixed={n: t for n, t in graph.fixed.items() if n in used},
    )
