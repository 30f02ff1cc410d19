"""One run of a Pyro program as a graph of tensor operations.

The run happens on tensors without content: no random number is drawn, and what is written into real
tensors all the same is put back. Every tensor that the program reads besides its arguments
(parameters, buffers, data in a closure) becomes an argument of the graph: what is written into it
later is seen.

torch.compile would not do: it follows Python's bytecode, and where it meets what it does not know, as in
Pyro's handlers, it leaves that part eager and says nothing.
"""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn import Parameter
from torch.overrides import TorchFunctionMode

from pyro_impl.compiled.errors import CannotCompileError
from pyro_impl.compiled.graph import Graph, aten, is_written, with_arguments
from pyro_impl.compiled.onednn import PRODUCTS
from pyro_impl.torch_private import (
    BATCH_NORM,
    VALIDATE_SAMPLE,
    VALUE_OF,
    OperationMode,
    declared_arguments,
    trace_operations,
    without_modes,
)
from twinplate.user_code import is_users_file


def _bernoulli(p: Tensor, *, generator: Any = None) -> Tensor:
    """As torch itself draws it; its compiler would compare uniform numbers, which are others."""
    return torch.empty_like(p).bernoulli_(p)


# What a graph holds in place of an operation, at the time when it is traced.
OPERATIONS = {**PRODUCTS, **BATCH_NORM, aten.bernoulli.default: _bernoulli}
# What gives Python the content of a tensor; the second without an operation of torch's. A graph would keep
# the number of this run for good, so they are refused for tensors that have one.
READ_VALUES = (VALUE_OF, aten.equal.default)
COPY_VALUES = (Tensor.tolist, Tensor.numpy, Tensor.__array__, Tensor.__dlpack__)


class _ValueNeededError(Exception):
    """Python asks for the content of a tensor, which a graph would keep as it is now."""


def capture(function: Callable[..., Any], arguments: Sequence[Tensor]) -> Graph:
    """The operations of `function(*arguments)`, which returns tensors.

    Raises CannotCompileError where Python needs the value of a tensor, or for whatever the program raises.
    """
    try:
        with _traceable(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the eager step before has given the program's own
            module = trace_operations(_writing_nothing(function), arguments, OPERATIONS)
    except CannotCompileError:
        raise
    except Exception as error:
        raise CannotCompileError(_reason(error)) from error
    return with_arguments(module)


def _writing_nothing(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, which leaves real tensors as they were."""

    def kept(*arguments: Tensor) -> Any:
        mode = _Kept()
        try:
            with mode, _Copied():
                return function(*arguments)
        finally:
            mode.restore()

    return kept


class _Kept(OperationMode):
    """Keeps the content of real tensors that are written to; Python may not ask for it.

    An operation on real tensors alone, such as a counter that goes up by one, meets no tensor without
    content: torch carries it out at once, besides recording it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._before: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in READ_VALUES and any(map(_is_real, args)):
            raise _ValueNeededError
        declared = declared_arguments(func)
        if any(map(is_written, declared)):
            named = dict(zip([a.name for a in declared], args, strict=False)) | kwargs
            for argument in declared:
                value: Any = named.get(argument.name)
                if is_written(argument) and _is_real(value):
                    self._keep(value)
        return func(*args, **kwargs)

    def _keep(self, tensor: Tensor) -> None:
        if id(tensor) not in self._before:
            with without_modes():
                self._before[id(tensor)] = tensor, tensor.detach().clone()

    def restore(self) -> None:
        with without_modes(), torch.no_grad():
            for tensor, before in self._before.values():
                tensor.copy_(before)


class _Copied(TorchFunctionMode):
    """Python may not ask for the content of real tensors in a way that `_Kept` does not see."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in COPY_VALUES and _is_real(args[0]):
            raise _ValueNeededError
        return func(*args, **(kwargs or {}))


def _is_real(value: Any) -> bool:
    return type(value) in (Tensor, Parameter)


@contextmanager
def _traceable() -> Iterator[None]:
    """Pyro without the places where it looks at numbers: a loss as a float, NaN checks, validation.

    Each of them is an `if` on the value of a tensor, and while a program is traced tensors have none. The
    eager step before has passed all these checks with real numbers.
    """
    silent: dict[str, Any] = {"torch_item": _detached, "warn_if_nan": _same, "warn_if_inf": _same}
    original = {
        "torch_item": pyro.infer.util.torch_item,
        "warn_if_nan": pyro.util.warn_if_nan,
        "warn_if_inf": pyro.util.warn_if_inf,
    }
    # Modules that import the function by its name hold one each.
    before: list[tuple[Any, str, Any]] = [
        (module, name, function)
        for module in list(sys.modules.values())
        for name, function in original.items()
        if getattr(module, "__dict__", {}).get(name) is function
    ]
    # Distributions made before keep the setting that they were made with, so their method goes too. One that
    # is made now and asks to be checked is taken at its word: such a program is not compiled.
    before.append((Distribution, VALIDATE_SAMPLE, getattr(Distribution, VALIDATE_SAMPLE)))
    before.append((Distribution, "__init__", Distribution.__init__))
    silent |= {VALIDATE_SAMPLE: _same, "__init__": _unvalidated(Distribution.__init__)}
    for owner, name, _ in before:
        setattr(owner, name, silent[name])
    try:
        with pyro.validation_enabled(False), torch.enable_grad():  # as SVI.step has it
            yield
    finally:
        for owner, name, function in before:
            setattr(owner, name, function)


def _unvalidated(init: Callable[..., None]) -> Callable[..., None]:
    """A constructor without checks, which refuses to be asked for one."""

    def checked(
        self: Distribution,
        batch_shape: Any = torch.Size(),  # noqa: B008
        event_shape: Any = torch.Size(),  # noqa: B008
        validate_args: bool | None = None,
    ) -> None:
        if validate_args:
            raise CannotCompileError(
                f"{type(self).__name__} is asked to check its values; remove validate_args=True"
            )
        init(self, batch_shape, event_shape, validate_args=validate_args)

    return checked


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value


def _same(value: Any, *args: Any, **kwargs: Any) -> Any:
    return value


def _reason(error: Exception) -> str:
    """Why a run could not be traced, with the last line of the user\'s own code."""
    frames = traceback.extract_tb(error.__traceback__)
    mine = [f for f in frames if is_users_file(f.filename)]
    place = f" ({mine[-1].filename}, line {mine[-1].lineno})" if mine else ""
    kind = type(error).__name__
    if any(f.name in (VALIDATE_SAMPLE, "validate_args") for f in frames) or any(
        f.filename.endswith("distributions/distribution.py") and f.name == "__init__"
        for f in frames
    ):
        return f"a distribution checks the values it gets; remove validate_args=True{place}"
    of_a_real_tensor = isinstance(error, _ValueNeededError)
    if of_a_real_tensor or "DataDependent" in kind or "value out of a tracing" in str(error):
        return f"Python needs the value of a tensor, in an `if`, a loop or a number{place}"
    return f"it cannot be traced: {kind}: {str(error).splitlines()[0] if str(error) else ''}{place}"
