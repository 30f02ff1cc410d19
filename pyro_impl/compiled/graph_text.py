"""A lowered graph as text, for another process to compile, and by which its machine code is found again.

Numbers of tensors are not in it, names neither: the same step on other data of these shapes has the same
text. Reading it runs nothing; operations are looked up in torch by their names.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from pyro_impl.compiled.errors import CannotCompileError
from pyro_impl.torch_private import Operation

# What stands in the arguments of operations besides numbers, words and lists: by its name in torch.
NAMED = (torch.dtype, torch.layout, torch.memory_format)
GETITEM = "getitem"


def write_graph(module: fx.GraphModule, inputs: Sequence[Tensor]) -> dict[str, Any]:
    """`module(*inputs)`, which holds no tensors, as a tree for JSON. Raises CannotCompileError."""
    numbers: dict[fx.Node, int] = {}
    nodes: list[Any] = []
    results: Any = None
    for node in module.graph.nodes:
        if node.op == "output":
            results = _written(node.args[0], numbers)
        else:
            if node.op != "placeholder":
                arguments = (_written(tree, numbers) for tree in (node.args, node.kwargs))
                nodes.append([_name(node.target), *arguments])
            numbers[node] = len(numbers)
    kinds = [[[*t.shape], [*t.stride()], str(t.dtype), str(t.device)] for t in inputs]
    return {"inputs": kinds, "nodes": nodes, "results": results}


def read_graph(tree: dict[str, Any]) -> tuple[fx.GraphModule, list[Tensor]]:
    """The module, and inputs of these kinds whose content is undefined."""
    graph, inputs = fx.Graph(), []
    for i, (shape, stride, dtype, device) in enumerate(tree["inputs"]):
        kind = {"dtype": _of_torch(dtype), "device": device}
        inputs.append(torch.empty_strided(shape, stride, **kind))
        graph.placeholder(f"input_{i}")
    values = [*graph.nodes]
    for name, args, kwargs in tree["nodes"]:
        given = _read(args, values), _read(kwargs, values)
        values.append(graph.call_function(_operation(name), tuple(given[0]), given[1]))
    graph.output(tuple(_read(tree["results"], values)))
    return fx.GraphModule(torch.nn.Module(), graph), inputs


def _name(target: Any) -> str:
    if target is operator.getitem:
        return GETITEM
    if not isinstance(target, Operation):
        raise CannotCompileError(f"{target} is no operation of torch's")
    return str(target)


def _operation(name: str) -> Any:
    return operator.getitem if name == GETITEM else operator.attrgetter(name)(torch.ops)


def _written(tree: Any, numbers: dict[fx.Node, int]) -> Any:
    if isinstance(tree, fx.Node):
        return {"node": numbers[tree]}
    if isinstance(tree, list | tuple):
        return [_written(item, numbers) for item in tree]
    if isinstance(tree, dict):
        return {"dict": {key: _written(item, numbers) for key, item in tree.items()}}
    if isinstance(tree, NAMED):
        return {"torch": str(tree)}
    if isinstance(tree, torch.device):
        return {"device": str(tree)}
    if tree is None or isinstance(tree, bool | int | float | str):
        return tree
    raise CannotCompileError(f"an operation takes {tree!r}, which cannot be written down")


def _read(tree: Any, values: list[fx.Node]) -> Any:
    if isinstance(tree, list):
        return [_read(item, values) for item in tree]
    if not isinstance(tree, dict):
        return tree
    ((kind, content),) = tree.items()
    if kind == "node":
        return values[content]
    if kind == "dict":
        return {key: _read(item, values) for key, item in content.items()}
    return torch.device(content) if kind == "device" else _of_torch(content)


def _of_torch(name: str) -> Any:
    return getattr(torch, name.removeprefix("torch."))


def text_of(tree: dict[str, Any]) -> str:
    """As JSON: the same for equal trees."""
    return json.dumps(tree, sort_keys=True)
