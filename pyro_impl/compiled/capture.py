"""One step of a Pyro program, taken as ever, and its tensor operations written down beneath autograd.

Tensors have their numbers, so that sizes and branches that depend on them are those of this step. What Python
learnt of a tensor, a size or a number, is written down too: a later step for which it is another one is not
a repetition of this one.

torch.compile would not do: it follows Python's bytecode, and where it meets what it does not know, as in
Pyro's handlers, it leaves that part eager and says nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from typing import Any

import pyro
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from pyro_impl.compiled.agreement import same_bits
from pyro_impl.compiled.calls import call_of
from pyro_impl.compiled.errors import CannotCompileError
from pyro_impl.compiled.graph import Graph, Node, Value, values_in
from pyro_impl.torch_private import (
    READERS,
    VALUE_OF,
    OperationMode,
    declared_arguments,
    tree_leaves,
    unvalidated,
    without_modes,
)
from twinplate.user_code import is_users_file

aten = torch.ops.aten

# What gives Python the content of a tensor without an operation of torch's.
COPY_VALUES = (Tensor.tolist, Tensor.numpy, Tensor.__array__, Tensor.__dlpack__)
# What makes a tensor of a sequence, and reads tensors that are in it.
MAKERS = (torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor)
SMALL = 4096  # numbers; a result of constants up to this size is computed once


class Recorder(OperationMode):
    """Writes down the operations that run within `with recorder:`.

    inputs: the tensors of the step's arguments; nothing else may read these objects.
    varying: what training changes; results of it, and of draws, are numbers that Python had better not read.
    """

    def __init__(self, inputs: Sequence[Tensor], varying: Sequence[Tensor]) -> None:
        super().__init__()
        self.graph = Graph([], [], {}, {}, [])
        self._numbers: Any = WeakTensorKeyDictionary()
        self._memory: list[int] = []  # of each root, while it lives
        self._trained = {id(tensor) for tensor in varying}
        self._varies: set[int] = set()  # tensors, and roots of tensors
        self._written: set[int] = set()  # roots
        self._before: dict[int, tuple[Tensor, Tensor]] = {}
        for tensor in inputs:
            self.graph.inputs.append(self._new(tensor))

    def __enter__(self) -> Recorder:
        self._reads = _Reads(self)
        self._reads.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._reads.__exit__(*error)

    # --- operations ---------------------------------------------------------------------------

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        taken, named = self._valued(args), self._valued(kwargs)
        node = Node(func, func, taken, named)
        self._look_at_writes(node)
        result = func(*args, **kwargs)
        if func is aten.lift_fresh.default:  # made of Python's numbers: nobody else has it
            number = taken[0].number
            self.graph.fixed[number] = self.graph.held[number]
            self._numbers[result] = number
        elif func is VALUE_OF:
            self.read(taken[0].number, result, Tensor.item)
        elif not self._is_the_same(func, args, result):
            self._add(node, args, kwargs, result)
        return result

    def _add(self, node: Node, args: Any, kwargs: dict[str, Any], result: Any) -> None:
        node.alone = not isinstance(result, tuple | list)
        results = [result] if node.alone else result
        tags = getattr(node.operation, "tags", ())
        known = getattr(node.operation, "namespace", "") in ("aten", "prims")
        node.random = torch.Tag.nondeterministic_seeded in tags or not known
        takes = set(node.takes())
        varies = node.random or any(map(self._does_vary, takes))
        fixed = not (node.random or node.writes) and all(map(self._is_fixed, takes))
        fixed = fixed and not node.operation.__name__.startswith(("empty", "new_empty"))
        for tensor in results:
            node.outputs.append(self._made(tensor, takes) if isinstance(tensor, Tensor) else None)
            number = node.outputs[-1]
            if number is not None and varies:
                self._varies.add(number)
            elif number is not None and fixed and number not in takes and tensor.numel() <= SMALL:
                self.graph.fixed[number] = tensor
        if varies:
            self._varies |= node.writes
        if torch.Tag.dynamic_output_shape in tags and _has_dynamic_sizes(node.operation, args):
            node.expected = ([None if t is None else tuple(t.shape) for t in results],)
            node.place = users_line()
        elif any(isinstance(r, bool | int | float) for r in results) and node.alone:
            node.expected, node.place = (result,), users_line()
        node.call = call_of(node.operation, args, kwargs, result)
        self.graph.nodes.append(node)

    def read(self, number: int, value: Any, by: Callable[..., Any]) -> None:
        """Python has learnt the content of a tensor, `value`, and later steps have to confirm it."""
        if self._is_fixed(number):
            return
        if self._does_vary(number) and not isinstance(value, bool | int):
            raise CannotCompileError(
                f"Python needs the value of a tensor, in an `if`, a loop or a number{users_line()}"
            )
        args: tuple[Any, ...] = (Value(number),)
        if isinstance(value, Tensor):
            args, value = (*args, value), True
        node = Node(None, by, args, {}, [None], expected=(value,), place=users_line())
        self.graph.nodes.append(node)

    def _does_vary(self, number: int) -> bool:
        return number in self._varies or self.graph.roots[number] in self._varies

    def _is_fixed(self, number: int) -> bool:
        return number in self.graph.fixed and self.graph.roots[number] not in self._written

    def number_of(self, tensor: Tensor) -> int:
        """The number of a tensor; one that is not known yet comes from outside of the step."""
        number = self._numbers.get(tensor)
        if number is None:
            if tensor.grad_fn is not None or tensor.layout is not torch.strided:
                raise CannotCompileError(
                    f"it uses a tensor {tuple(tensor.shape)} whose operations are not torch's own, are "
                    f"hidden in compiled code, or that is sparse{users_line()}"
                )
            number = self._new(tensor)
            self.graph.held[number] = tensor
            if id(tensor) in self._trained:
                self._varies.add(number)
        return int(number)

    def _valued(self, tree: Any) -> Any:
        kind = type(tree)
        if kind is list or kind is tuple:
            return kind([self._valued(item) for item in tree])
        if kind is dict:
            return {key: self._valued(item) for key, item in tree.items()}
        return Value(self.number_of(tree)) if isinstance(tree, Tensor) else tree

    # --- memory -------------------------------------------------------------------------------

    def _new(self, tensor: Tensor, among: Sequence[int] | None = None) -> int:
        """A number for a tensor; its root is the one among those given, or held, with the same memory."""
        number = len(self.graph.roots)
        memory = tensor.untyped_storage().data_ptr() if tensor.layout is torch.strided else 0
        among = [*self.graph.inputs, *self.graph.held] if among is None else among
        same = (self.graph.roots[n] for n in among if memory and self._memory[n] == memory)
        self.graph.roots.append(next(same, number))
        self._memory.append(memory)
        self._numbers[tensor] = number
        return number

    def _made(self, tensor: Tensor, takes: set[int]) -> int:
        number = self._numbers.get(tensor)
        return self._new(tensor, [*takes]) if number is None else int(number)

    def _is_the_same(self, func: Any, args: Any, result: Any) -> bool:
        """Whether an operation has given its argument another name: a view that is all of it."""
        if not (isinstance(result, Tensor) and args and isinstance(args[0], Tensor)):
            return False
        of, declared = args[0], declared_arguments(func)
        if result is of or not declared or declared[0].alias_info is None:
            return False
        if declared[0].alias_info.is_write or result.dtype != of.dtype or result.shape != of.shape:
            return False
        if result.stride() != of.stride() or result.storage_offset() != of.storage_offset():
            return False
        self._numbers[result] = self._numbers[of]
        return True

    def _look_at_writes(self, node: Node) -> None:
        """Note what an operation is about to write into, and keep the content of what comes from outside."""
        written = [*_written(node.operation, node.args, node.kwargs)]
        if not written:
            return
        node.writes = frozenset(self.graph.roots[number] for number in written)
        self._written |= node.writes
        for number in written:
            root = self.graph.roots[number]
            tensor = self.graph.held.get(root)
            if tensor is not None and root not in self._before:
                with without_modes():
                    self._before[root] = tensor, tensor.detach().clone()

    def undo(self) -> None:
        """Give back what was written into tensors from outside."""
        with torch.no_grad():
            for tensor, before in self._before.values():
                tensor.copy_(before)

    def finish(self, losses: Any, gradients: Sequence[Tensor]) -> Graph:
        """The graph of all that has run, with these results."""
        graph, known = self.graph, self._numbers

        def number(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            if value not in known:
                raise CannotCompileError(
                    "its loss or a gradient comes from no operation of torch's"
                )
            return Value(known[value])

        several = isinstance(losses, tuple)
        graph.losses = tuple(map(number, losses)) if several else number(losses)
        graph.gradients = [number(gradient).number for gradient in gradients]
        # A constant that is written into begins every step as it was before.
        for root in graph.fixed.keys() & self._before.keys():
            graph.fixed[root] = graph.held[root] = self._before.pop(root)[1]
        graph.written = [tensor for tensor, _ in self._before.values()]
        return graph


class _Reads(TorchFunctionMode):
    """Where Python asks for the content of a tensor and no operation shows it; and where Pyro does.

    Pyro adds up losses as numbers of Python, in double precision; here they stay tensors, of that precision.
    """

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is Tensor.item and args[0].is_floating_point():
            caller = sys._getframe(1).f_globals.get("__name__", "")
            if caller.startswith("pyro.infer"):
                return args[0].detach().double()
        for tensor in map(Tensor.detach, _read_beneath(func, args, kwargs or {})):
            with without_modes():
                content = tensor.clone()
            self._recorder.read(self._recorder.number_of(tensor), content, same_bits)
        return func(*args, **(kwargs or {}))


def _read_beneath(func: Any, args: Any, kwargs: dict[str, Any]) -> list[Tensor]:
    """Tensors among the arguments of a call whose content is read where no operation shows it."""
    if func in COPY_VALUES:
        return [args[0]]
    if func in MAKERS:
        sequences = [
            value for value in (*args, *kwargs.values()) if isinstance(value, list | tuple)
        ]
        return [leaf for leaf in tree_leaves(sequences) if isinstance(leaf, Tensor)]
    if func in READERS:
        behind = [value for value in (*args[1:], *kwargs.values()) if isinstance(value, Tensor)]
        return [tensor for tensor in behind if not tensor.is_floating_point()]
    return []


@contextmanager
def unchecked() -> Iterator[None]:
    """Pyro without the places where it looks at numbers: NaN checks, validation.

    Each of them is an `if` on the value of a tensor. The eager step before has passed all of them.
    Distributions that were made outside of the step have been told to validate for good.
    """
    original = {"warn_if_nan": pyro.util.warn_if_nan, "warn_if_inf": pyro.util.warn_if_inf}
    # Modules that import the function by its name hold one each.
    before: list[tuple[Any, str, Any]] = [
        (module, name, function)
        for module in list(sys.modules.values())
        for name, function in original.items()
        if getattr(module, "__dict__", {}).get(name) is function
    ]
    for owner, name, _ in before:
        setattr(owner, name, _same)
    try:
        with pyro.validation_enabled(False), unvalidated():
            yield
    finally:
        for owner, name, function in before:
            setattr(owner, name, function)


def _same(value: Any, *args: Any, **kwargs: Any) -> Any:
    return value


def users_line() -> str:
    """The last line of the user's own code that is running, in brackets; or nothing."""
    frame: Any = sys._getframe(1)
    while frame is not None and not is_users_file(frame.f_code.co_filename):
        frame = frame.f_back
    return "" if frame is None else f" ({frame.f_code.co_filename}, line {frame.f_lineno})"


# --- operations -----------------------------------------------------------------------------------


def _written(operation: Any, args: Any, kwargs: dict[str, Any]) -> Iterator[int]:
    """The numbers of what an operation writes into."""
    declared = declared_arguments(operation)
    for argument, value in zip_longest(declared, args):
        if argument is None:
            return
        if argument.alias_info is not None and argument.alias_info.is_write:
            yield from values_in(kwargs.get(argument.name) if value is None else value)
    if "batch_norm" in operation.__name__ and "backward" not in operation.__name__:
        yield from values_in(args[3:5])  # running averages, of which its schema says nothing


def _has_dynamic_sizes(operation: Any, args: Any) -> bool:
    if operation is not aten.index.Tensor:
        return True
    return any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1])
