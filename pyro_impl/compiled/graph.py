"""The operations of one step as they were run: what each took, made, wrote into, and told Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor


class Value(NamedTuple):
    """A tensor of the step, in the arguments of an operation."""

    number: int


@dataclass
class Node:
    """`call(*args, **kwargs)`, which runs `operation`.

    args, kwargs: trees with a Value for each tensor.  outputs: numbers of the tensors that it returns, None
        for what is no tensor.  alone: it returns one, in no list.  writes: roots of what it writes into.
    random: it draws, or what it does is not known; it stays, and stays alone.
    expected: what Python did with the result, (sizes,) or (value,), which every later step has to confirm.
    """

    operation: Any
    call: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: list[int | None] = field(default_factory=list)
    alone: bool = True
    writes: frozenset[int] = frozenset()
    random: bool = False
    expected: tuple[Any, ...] = ()
    place: str = ""  # of the user's line, where something is expected

    def takes(self) -> Iterator[int]:
        """The numbers of its arguments."""
        yield from values_in((self.args, self.kwargs))

    def makes(self) -> list[int]:
        """The numbers of what it returns and did not take."""
        taken = set(self.takes())
        return [n for n in self.outputs if n is not None and n not in taken]


@dataclass
class Graph:
    """The nodes of a step, and the tensors that it starts from.

    inputs: numbers of the tensors of its arguments.  held: other tensors that it reads, parameters among
    them, each where it is.  fixed: among them those that nobody else has, made of Python's numbers; and small
    results of those alone.  roots: of each tensor, the first one with the same memory.  losses: a Value, a
    number of Python's, or a tuple of them.  gradients: numbers of tensors.
    """

    nodes: list[Node]
    inputs: list[int]
    held: dict[int, Tensor]
    fixed: dict[int, Tensor]
    roots: list[int]
    written: list[Tensor] = field(default_factory=list)
    losses: Any = ()
    gradients: list[int] = field(default_factory=list)

    def loss_numbers(self) -> list[int]:
        """Of the losses that are tensors."""
        return [*values_in(self.losses)]

    def results(self) -> list[int]:
        """Numbers of the tensors that are asked for."""
        return [*self.loss_numbers(), *self.gradients]


def values_in(tree: Any) -> Iterator[int]:
    """The numbers of the tensors in the arguments of an operation."""
    kind = type(tree)
    if kind is Value:
        yield tree.number
    elif kind is list or kind is tuple:
        for item in tree:
            yield from values_in(item)
    elif kind is dict:
        yield from values_in([*tree.values()])


def mapped(tree: Any, change: Callable[[int], Any]) -> Any:
    """Arguments of an operation with something else for each tensor."""
    kind = type(tree)
    if kind is Value:
        return change(tree.number)
    if kind is list or kind is tuple:
        return kind([mapped(item, change) for item in tree])
    if kind is dict:
        return {key: mapped(item, change) for key, item in tree.items()}
    return tree
