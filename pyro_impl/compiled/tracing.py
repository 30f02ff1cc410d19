"""One run of a Pyro program as a graph of tensor operations.

The run happens on tensors without content: no random number is drawn, and what is written into real
tensors all the same is put back. Every tensor that the program reads besides its arguments
(parameters, buffers, data in a closure) becomes an argument of the graph: what is written into it
later is seen.
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


OPERATIONS = {**PRODUCTS, **BATCH_NORM, aten.bernoulli.default: _bernoulli}
# What gives Python the content of a tensor; these functions without an operation of torch.
VALUES = (VALUE_OF, aten.equal.default)
COPIES = (Tensor.tolist, Tensor.numpy, Tensor.__array__, Tensor.__dlpack__)


class _ValueNeededError(Exception):
    """Python asks for the content of a tensor, which a graph would keep as it is now."""


def capture(function: Callable[..., Any], arguments: Sequence[Tensor]) -> Graph:
    """The operations of `function(*arguments)`, which returns tensors.

    Raises CannotCompileError where Python needs the value of a tensor, or for whatever the program raises.
    """
    try:
        with _traceable(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = trace_operations(_writing_nothing(function), arguments, OPERATIONS)
    except CannotCompileError:
        raise
    except Exception as error:
        raise CannotCompileError(_reason(error)) from error
    return with_arguments(module)


def _writing_nothing(function: Callable[..., Any]) -> Callable[..., Any]:
    def kept(*arguments: Tensor) -> Any:
        mode = _Kept()
        try:
            with mode, _Copied():
                return function(*arguments)
        finally:
            mode.restore()

    return kept


class _Kept(OperationMode):
    """Keeps the content of real tensors that are written to; Python may not ask for it."""

    def __init__(self) -> None:
        super().__init__()
        self._before: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in VALUES and any(map(_is_real, args)):
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
        if func in COPIES and _is_real(args[0]):
            raise _ValueNeededError
        return func(*args, **(kwargs or {}))


def _is_real(value: Any) -> bool:
    return type(value) in (Tensor, Parameter)


@contextmanager
def _traceable() -> Iterator[None]:
    """Pyro without the places where it looks at numbers: a loss as a float, NaN checks, validation."""
    silent: dict[str, Any] = {"torch_item": _detached, "warn_if_nan": _same, "warn_if_inf": _same}
    original = {
        "torch_item": pyro.infer.util.torch_item,
        "warn_if_nan": pyro.util.warn_if_nan,
        "warn_if_inf": pyro.util.warn_if_inf,
    }
    before: list[tuple[Any, str, Any]] = [
        (module, name, function)
        for module in list(sys.modules.values())
        for name, function in original.items()
        if getattr(module, "__dict__", {}).get(name) is function
    ]
    # Distributions made before have kept their own setting; one that asks now wants to be checked.
    before.append((Distribution, VALIDATE_SAMPLE, getattr(Distribution, VALIDATE_SAMPLE)))
    before.append((Distribution, "__init__", Distribution.__init__))
    silent |= {VALIDATE_SAMPLE: _same, "__init__": _unvalidated(Distribution.__init__)}
    for owner, name, _ in before:
        setattr(owner, name, silent[name])
    try:
        with pyro.validation_enabled(False), torch.enable_grad():
            yield
    finally:
        for owner, name, function in before:
            setattr(owner, name, function)


def _unvalidated(init: Callable[..., None]) -> Callable[..., None]:
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
