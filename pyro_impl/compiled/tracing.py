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
from torch._decomp import get_decompositions
from torch._decomp.decompositions import native_batch_norm_decomposition
from torch.distributions import Distribution
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import Parameter
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from pyro_impl.compiled.errors import CannotCompileError
from pyro_impl.compiled.graph import Graph, aten, is_written, with_arguments
from pyro_impl.compiled.onednn import PRODUCTS
from twinplate.user_code import is_users_file


def _bernoulli(p: Tensor, *, generator: Any = None) -> Tensor:
    """As torch itself draws it; its compiler would compare uniform numbers, which are others."""
    return torch.empty_like(p).bernoulli_(p)


# Batch normalisation writes into its buffers without saying so; these say it.
OPERATIONS = (
    PRODUCTS
    | get_decompositions([aten.cudnn_batch_norm, aten.cudnn_batch_norm_backward])
    | {
        aten.bernoulli.default: _bernoulli,
        aten.native_batch_norm.default: native_batch_norm_decomposition,
    }
)
# What gives Python the content of a tensor; these functions without an operation of torch.
VALUES = (aten._local_scalar_dense.default, aten.equal.default)
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
            traced = make_fx(
                _writing_nothing(function),
                decomposition_table=OPERATIONS,
                tracing_mode="fake",
                _allow_non_fake_inputs=True,
            )
            module = traced(*arguments)
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


class _Kept(TorchDispatchMode):
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
        if func._schema.is_mutable:
            named = dict(zip([a.name for a in func._schema.arguments], args, strict=False)) | kwargs
            for argument in func._schema.arguments:
                value: Any = named.get(argument.name)
                if is_written(argument) and _is_real(value):
                    self._keep(value)
        return func(*args, **kwargs)

    def _keep(self, tensor: Tensor) -> None:
        if id(tensor) not in self._before:
            with _disable_current_modes():
                self._before[id(tensor)] = tensor, tensor.detach().clone()

    def restore(self) -> None:
        with _disable_current_modes(), torch.no_grad():
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
    before.append((Distribution, "_validate_sample", Distribution._validate_sample))
    before.append((Distribution, "__init__", Distribution.__init__))
    silent |= {"_validate_sample": _same, "__init__": _unvalidated(Distribution.__init__)}
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
    if any(f.name in ("_validate_sample", "validate_args") for f in frames) or any(
        f.filename.endswith("distributions/distribution.py") and f.name == "__init__"
        for f in frames
    ):
        return f"a distribution checks the values it gets; remove validate_args=True{place}"
    of_a_real_tensor = isinstance(error, _ValueNeededError)
    if of_a_real_tensor or "DataDependent" in kind or "value out of a tracing" in str(error):
        return f"Python needs the value of a tensor, in an `if`, a loop or a number{place}"
    return f"it cannot be traced: {kind}: {str(error).splitlines()[0] if str(error) else ''}{place}"
