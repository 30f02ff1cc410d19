"""A graph as a function in Python: one line for each operation, and tensors let go after their last use.

Without a compiler it is ready at once, and it runs the same operations of torch on the same numbers: the
result is that of the recorded program to the bit. What it leaves out is Pyro, autograd, and half of the
operations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from pyro_impl.compiled.agreement import rewinding
from pyro_impl.compiled.errors import NotReplayedError
from pyro_impl.compiled.graph import Graph, Node, Value
from pyro_impl.torch_private import run_below_autograd

LITERALS = (int, float, bool, str, type(None))


class Replay:
    """`replay(tensors)` of the arguments: (losses, gradients), or None where the step is another one.

    It is where a size or a number that Python had learnt of a tensor is not what it was. Then nothing has
    happened: no number was drawn, and no tensor written into. Nor has it where NotReplayedError is raised: an
    operation failed, or on a CPU the loss is not a number. Pyro knows the site and may refuse its values.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.moved = ""  # the user's line that wanted what was another one
        self._run = _Writer(graph).function()

    def __call__(self, tensors: Sequence[Tensor]) -> tuple[Any, list[Tensor]] | None:
        rewind = rewinding(self.graph.written)
        try:
            place, losses, gradients = run_below_autograd(self._run, tensors)
        except Exception as error:
            rewind()
            raise NotReplayedError(f"{type(error).__name__}: {error}") from error
        if place is not None:
            rewind()
            self.moved = place
            return None
        if is_nan(losses):
            rewind()
            raise NotReplayedError("its loss is not a number")
        return losses, gradients


def is_nan(loss: Any) -> bool:
    """Of a tensor on a CPU alone: on a GPU Python would wait for all operations before."""
    if isinstance(loss, tuple):
        return any(map(is_nan, loss))
    if isinstance(loss, Tensor):
        return loss.device.type == "cpu" and math.isnan(loss.item())
    return math.isnan(loss)


class _Writer:
    """Writes the function, line by line. Its names: `t` tensors, `f` functions, `c` other constants."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._scope: dict[str, Any] = {f"t{n}": tensor for n, tensor in graph.held.items()}
        self._known: dict[Any, str] = {}
        self._lines = [f"def run({', '.join(f't{n}' for n in graph.inputs)}):"]

    def function(self) -> Callable[..., Any]:
        graph = self._graph
        written = {root for node in graph.nodes for root in node.writes}
        for number in (
            graph.fixed.keys() & written
        ):  # a constant that the step changes, in a copy of its own
            pristine = self._constant(graph.held[number])
            self._lines.append(f"t{number} = {pristine}.clone()")
        last = self._last_uses()
        for i, node in enumerate(graph.nodes):
            self._write(node)
            if last[i]:
                self._lines.append("del " + ", ".join(f"t{n}" for n in sorted(last[i])))
        losses = self._text(graph.losses)
        self._lines.append(f"return None, {losses}, [{', '.join(self._gradients())}]")
        exec("\n    ".join(self._lines), self._scope)
        run: Callable[..., Any] = self._scope["run"]
        return run

    def _last_uses(self) -> list[set[int]]:
        """Tensors made by the step that no later node takes, by the node after which they can go."""
        graph, seen = self._graph, {*self._graph.results(), *self._graph.held}
        last: list[set[int]] = []
        for node in reversed(graph.nodes):
            here = {*node.takes(), *(n for n in node.outputs if n is not None)} - seen
            seen |= here
            last.append(here)
        return last[::-1]

    def _write(self, node: Node) -> None:
        arguments = [self._text(argument) for argument in node.args]
        arguments += [f"{name}={self._text(value)}" for name, value in node.kwargs.items()]
        call = f"{self._function(node.call)}({', '.join(arguments)})"
        made = node.makes()
        if node.expected and not isinstance(node.expected[0], list):
            self._guard(f"{call} != {self._text(node.expected[0])}", node)
        elif not made:
            self._lines.append(call)
        elif node.alone:
            self._lines.append(f"t{made[0]} = {call}")
        else:
            names = ["_" if n not in made else f"t{n}" for n in node.outputs]
            self._lines.append(f"{', '.join(names)}, = {call}")
        if node.expected and isinstance(node.expected[0], list):
            for number, sizes in zip(node.outputs, node.expected[0], strict=True):
                if number is not None:
                    self._guard(f"t{number}.shape != {sizes}", node)

    def _guard(self, condition: str, node: Node) -> None:
        self._lines.append(f"if {condition}: return {node.place!r}, None, None")

    def _gradients(self) -> list[str]:
        """Each in memory of its own: whoever gets them may change them in place."""
        graph, texts = self._graph, []
        roots = {graph.roots[n] for n in (*graph.inputs, *graph.held)}
        for number in graph.gradients:
            texts.append(f"t{number}" + ".clone()" * (graph.roots[number] in roots))
            roots.add(graph.roots[number])
        return texts

    def _text(self, tree: Any) -> str:
        kind = type(tree)
        if kind is Value:
            return f"t{tree.number}"
        if kind is list:
            return f"[{', '.join(map(self._text, tree))}]"
        if kind is tuple:
            return f"({''.join(self._text(item) + ', ' for item in tree)})"
        if kind in LITERALS and not (kind is float and not math.isfinite(tree)):
            return repr(tree)
        return self._constant(tree)

    def _constant(self, value: Any) -> str:
        return self._name("c", value)

    def _function(self, call: Callable[..., Any]) -> str:
        return self._name("f", call)

    def _name(self, letter: str, value: Any) -> str:
        if id(value) not in self._known:
            self._known[id(value)] = f"{letter}{len(self._known)}"
            self._scope[self._known[id(value)]] = value
        return self._known[id(value)]
