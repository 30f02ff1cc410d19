"""One run of a Pyro program as a graph of tensor operations, and the graph as machine code.

The run happens on tensors without content: no random number is drawn, and what is written into real
tensors all the same is put back. Every tensor that the program reads besides its arguments
(parameters, buffers, data in a closure) becomes an argument of the graph: what is written into it
later is seen.
"""

from __future__ import annotations

import math
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import pyro
import torch
from torch import Tensor, fx
from torch._decomp import get_decompositions
from torch._decomp.decompositions import native_batch_norm_decomposition
from torch._guards import TracingContext, tracing
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributions import Distribution
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.nn import Parameter
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from pyro_impl.compiled.agreement import give_back, same_draws
from pyro_impl.compiled.onednn import PRODUCTS
from twinplate.user_code import is_users_file

aten = torch.ops.aten

# The random numbers are those of the eager program, drawn in its order.
OPTIONS: dict[str, str | int | bool | Callable[..., Any]] = {
    "fallback_random": True,
    "reorder_for_locality": False,
}


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


class CannotCompileError(Exception):
    """The program has to run eagerly; the message says why."""


class _ValueNeededError(Exception):
    """Python asks for the content of a tensor, which a graph would keep as it is now."""


@dataclass(frozen=True)
class Graph:
    """`module(*tensors, *arguments)`.

    tensors: what the program reads besides its arguments.  written: those among them that it changes.
    """

    module: fx.GraphModule
    tensors: list[Tensor]
    written: list[Tensor]


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
    return _with_arguments(module)


def compile_graph(graph: Graph, arguments: Sequence[Tensor]) -> Callable[..., Any]:
    """Machine code for `graph` on arguments of these shapes; on a GPU as one CUDA graph.

    Raises CannotCompileError where torch's compiler fails, as it does without a C++ compiler.
    """
    inputs = [*graph.tensors, *arguments]
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return (_cuda_graph if _on_gpu(inputs) else _machine_code)(graph, inputs)
    except Exception as error:
        raise CannotCompileError(_compiler_reason(error)) from error


def _machine_code(graph: Graph, inputs: list[Tensor]) -> Callable[..., Any]:
    """By the compiler behind torch.compile: shapes are guarded already, and once more would be slow."""
    from torch._inductor.compile_fx import compile_fx  # costs a second to import

    # The compiler's cache on disk asks for a context that could hold symbolic shapes; there are none.
    context = TracingContext(FakeTensorMode(shape_env=ShapeEnv()))
    with tracing(context):
        run = cast(  # compiling ahead of time, which is not done here, returns something else
            Callable[..., Any],
            compile_fx(graph.module, inputs, config_patches=OPTIONS, ignore_shape_env=True),
        )

    def quiet(*inputs: Tensor) -> Any:
        with torch.no_grad():
            return run(*inputs)

    return quiet


def _on_gpu(tensors: list[Tensor]) -> bool:
    return any(t.is_cuda for t in tensors)


def _cuda_graph(graph: Graph, inputs: list[Tensor]) -> Callable[..., Any]:
    for tensor in graph.tensors:
        torch._dynamo.mark_static_address(tensor)
    options = OPTIONS | {"triton.cudagraphs": True}
    run = torch.compile(graph.module, dynamic=False, options=options)

    def cloned(*inputs: Tensor) -> Any:
        torch.compiler.cudagraph_mark_step_begin()
        with torch.no_grad():  # the next replay overwrites what this one returns
            return torch.utils._pytree.tree_map(Tensor.clone, run(*inputs))

    # torch.compile compiles in the first call; this one counts for nothing.
    before = [t.clone() for t in graph.written]
    arguments = [t.clone() for t in inputs[len(graph.tensors) :]]
    with same_draws():
        cloned(*graph.tensors, *arguments)
    give_back(graph.written, before)
    return cloned


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
                if _is_written(argument) and _is_real(value):
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


def _with_arguments(module: fx.GraphModule) -> Graph:
    """Tensors held by the module become its first arguments, but for the constants of its own code."""
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
            with graph.inserting_before(first):
                found[id(tensor)] = tensor, graph.placeholder(f"read_{len(found)}")
        node.replace_all_uses_with(found[id(tensor)][1])
        graph.erase_node(node)
    # A module of its own: tensors that the old one still holds would become arguments once more.
    module = fx.GraphModule(module, graph)
    changed = _changed(graph)
    written = [tensor for tensor, node in found.values() if node in changed]
    return Graph(module, [tensor for tensor, _ in found.values()], written)


def _failures_as_nan(graph: fx.Graph) -> None:
    """A factorisation that fails makes the loss nan: the check that raises would wait for numbers."""
    checks = [n for n in graph.nodes if n.target is aten._linalg_check_errors.default]
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
            if _is_written(argument):
                changed |= set(_origins(value))
    return changed


def _is_written(argument: Any) -> bool:
    return argument.alias_info is not None and argument.alias_info.is_write


def _origins(node: Any) -> Iterator[fx.Node]:
    while isinstance(node, fx.Node):
        yield node
        aliased = (v for v, argument in _arguments(node) if argument.alias_info is not None)
        node = next(aliased, None)


def _arguments(node: fx.Node) -> list[tuple[Any, Any]]:
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return []
    named = [(node.kwargs[a.name], a) for a in schema.arguments if a.name in node.kwargs]
    return [*zip(node.args, schema.arguments, strict=False), *named]


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


def _compiler_reason(error: BaseException) -> str:
    chain: list[BaseException] = [error]
    for link in chain:
        chain += [e for e in (link.__cause__, getattr(link, "inner_exception", None)) if e]
    if any(type(link).__name__ == "InvalidCxxCompiler" for link in chain):
        return "torch.compile finds no C++ compiler; install g++ or clang, or point CXX to one"
    text = str(error).strip().splitlines() or [""]
    return f"torch's compiler failed: {type(error).__name__}: {text[0]}"
