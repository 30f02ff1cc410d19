"""All that this package uses of torch's private parts; no other file of it touches them.

Private is what torch names with an underscore, and `torch.fx.experimental`: it can change with any release.
Each name was looked up in torch 2.6, the oldest that `pyproject.toml` allows, and in 2.13 and 2.14; where
they differ, the function says how. `make test-oldest` and `make test-newest` run what stands on this file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import lru_cache, wraps
from pathlib import Path
from types import BuiltinFunctionType, MethodDescriptorType, SimpleNamespace
from typing import Any, TypeVar
from unittest import mock

import torch
from torch import Tensor, fx
from torch._decomp import get_decompositions
from torch._decomp.decompositions import native_batch_norm_decomposition
from torch.distributions import Distribution
from torch.distributions.utils import _standard_normal
from torch.fx.experimental.proxy_tensor import make_fx
from torch.optim import Optimizer
from torch.utils import _python_dispatch as dispatch
from torch.utils import _pytree as pytree

aten = torch.ops.aten
F = TypeVar("F", bound=Callable[..., Any])

# --- tracing --------------------------------------------------------------------------------------


def trace_operations(
    function: Callable[..., Any], arguments: Sequence[Tensor], decompositions: dict[Any, Any]
) -> fx.GraphModule:
    """The operations of `function(*arguments)`, run on tensors without content.

    `torch.export` is the public way; it knows neither random numbers nor tensors that a closure holds, which
    here become attributes of the module.
    """
    traced = make_fx(
        function,
        decomposition_table=decompositions,
        tracing_mode="fake",
        _allow_non_fake_inputs=True,
    )
    module: fx.GraphModule = traced(*arguments)
    return module


# Batch normalisation writes into its buffers without saying so; these say it.
BATCH_NORM: dict[Any, Callable[..., Any]] = {
    **get_decompositions([aten.cudnn_batch_norm, aten.cudnn_batch_norm_backward]),
    aten.native_batch_norm.default: native_batch_norm_decomposition,
}


@contextmanager
def unvalidated() -> Iterator[None]:
    """No distribution looks whether the values given to it are in its support; not even one told to.

    The public `Distribution.set_default_validate_args` holds for distributions that are yet to be made.
    """

    def look_at_nothing(distribution: Distribution, value: Tensor) -> None:
        return None

    with mock.patch.object(Distribution, "_validate_sample", look_at_nothing):
        yield


# Sees every operation below autograd. The public `torch.overrides.TorchFunctionMode` sits above it, and
# does not see what autograd's backward passes do.
OperationMode = dispatch.TorchDispatchMode
without_modes = dispatch._disable_current_modes


# --- replaying ------------------------------------------------------------------------------------


def direct(operation: Any) -> Callable[..., Any]:
    """An operation without the layer in Python above it."""
    call: Callable[..., Any] = operation._op
    return call


def python_functions(operation: Any) -> list[Callable[..., Any]]:
    """Functions and methods of torch with the name of an operation, written in C.

    They cost half as much to call as the operation itself. Which operation one stands for depends on its
    arguments.
    """
    name = operation._schema.name.split("::")[1]
    parts: Any = torch._C
    groups = torch, Tensor, parts._nn, parts._linalg, parts._special, parts._fft
    found = [getattr(group, name, None) for group in groups if operation.namespace == "aten"]
    return [f for f in found if isinstance(f, BuiltinFunctionType | MethodDescriptorType)]


def run_below_autograd(function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    """`function(*arguments)` on tensors for which autograd and autocast keep and change nothing."""
    parts: Any = torch._C
    with parts._AutoDispatchBelowAutograd(), parts._DisableAutocast(), parts.DisableTorchFunction():
        return function(*arguments)


# `float(tensor)`, `tensor.item()` and `if tensor:`.
VALUE_OF = aten._local_scalar_dense.default
# Raises where a factorisation failed, as its number says.
CHECK_FACTORISATION = aten._linalg_check_errors.default

# What reads a size, or how many rows to take, from a tensor of whole numbers behind the first argument.
READERS = (
    *(torch._VF.lstm, torch._VF.gru, torch._VF.rnn_tanh, torch._VF.rnn_relu),
    *(torch._pack_padded_sequence, torch._pad_packed_sequence),
    *(torch.tensor_split, Tensor.tensor_split),
)


def declared_arguments(operation: Any) -> list[Any]:
    """Arguments of an operation as its schema declares them, with what it writes into; none without one."""
    schema = getattr(operation, "_schema", None)
    return [] if schema is None else list(schema.arguments)


Operation = torch._ops.OpOverload
tree_leaves = pytree.tree_leaves
tree_map = pytree.tree_map

# --- machine code ---------------------------------------------------------------------------------


class _Called(torch.nn.Module):
    """A graph as a part of a module: export looks at a module's own code, and here there is none to see."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, *inputs: Tensor) -> Any:
        return self.graph(*inputs)


def write_package(
    module: fx.GraphModule, inputs: Sequence[Tensor], options: dict[str, Any], path: Path
) -> None:
    """Compile `module`, which returns a tuple, for a CPU into a file that ends in ".pt2".

    Shapes, types and strides are those of `inputs`; nothing checks later ones.
    """
    from torch._inductor import aoti_compile_and_package  # costs seconds to import

    program = torch.export.export(_Called(module), tuple(inputs), strict=False)
    aoti_compile_and_package(program, package_path=str(path), inductor_configs=options)


def load_package(path: Path) -> Callable[[list[Tensor]], list[Tensor]]:
    """What `write_package` has written. The public `aoti_load_package` imports all of torch's compiler."""
    loaders: Any = torch._C._aoti
    try:
        loader = loaders.AOTIModelPackageLoader(str(path), "model", False, 1, -1)
    except TypeError:  # torch 2.6
        loader = loaders.AOTIModelPackageLoader(str(path), "model")
    run: Callable[[list[Tensor]], list[Tensor]] = loader.run
    return run


def makes_constants(function: F) -> F:
    """Tensors that `function` makes are kept, and torch.compile takes them as they are.

    Not kept are those that have no numbers, since torch only follows shapes (`FakeTensorMode`).

    The public `torch.compiler.assume_constant_result` sets the same mark, and imports torch's compiler, which
    costs more than everything else of this package.
    """
    kept = lru_cache(maxsize=16)(function)

    @wraps(function)
    def constants(*arguments: Any) -> Any:
        with torch.inference_mode(False):  # for every later use, with gradients too
            fake = torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.FAKE)
            return (kept if fake is None else function)(*arguments)

    marked: Any = constants
    marked._dynamo_marked_constant = True
    return marked


def stays_in_place(tensor: Tensor) -> None:
    """Tell torch's compiler that a tensor does not move: a CUDA graph reads it where it is, uncopied."""
    torch._dynamo.mark_static_address(tensor)


@contextmanager
def compiled_afresh(most: int) -> Iterator[None]:
    """torch.compile without its caches on disk; it compiles one function up to `most` times."""
    dynamo: Any = torch._dynamo.config  # which gets its methods at run time, as the others do
    public: Any = torch.compiler.config
    in_public = hasattr(
        public, "force_disable_caches"
    )  # in torch 2.6 an option of the compiler itself
    caches = public if in_public else torch._inductor.config
    limit = (
        "recompile_limit" if hasattr(dynamo, "recompile_limit") else "cache_size_limit"
    )  # in 2.6
    with ExitStack() as stack:
        stack.enter_context(caches.patch(force_disable_caches=True))
        stack.enter_context(dynamo.patch(**{limit: most}))
        yield


# Public, but not in torch 2.6, which knows the weaker promise only: strides in the same order.
EXACT_STRIDES = getattr(torch.Tag, "needs_exact_strides", torch.Tag.needs_fixed_stride_order)


def onednn_linear(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`rows @ weight.T + bias` by oneDNN, which torch.nn.functional.linear does not take in float32."""
    return torch.ops.mkldnn._linear_pointwise.default(rows, weight, bias, "none", [], "")


# --- tensors, modules, optimisers, distributions --------------------------------------------------

# On lists of tensors at once, as torch's optimisers compute.
each = SimpleNamespace(
    add=torch._foreach_add,
    add_=torch._foreach_add_,
    addcdiv_=torch._foreach_addcdiv_,
    addcmul_=torch._foreach_addcmul_,
    clamp_max_=torch._foreach_clamp_max_,
    clamp_min=torch._foreach_clamp_min,
    div_=torch._foreach_div_,
    lerp_=torch._foreach_lerp_,
    mul_=torch._foreach_mul_,
    norm=torch._foreach_norm,
    sqrt=torch._foreach_sqrt,
    sub=torch._foreach_sub,
)


def version(tensor: Tensor) -> int:
    """How often a tensor was written into; torch's own check that backward sees what forward saw."""
    return tensor._version


# Where a module keeps what it is made of. `named_parameters` and the like would list them flat, and miss
# which dictionary a later one would be put into.
MODULE_TABLES = ("_parameters", "_buffers", "_modules")
MODULE_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")

# The draw of torch's own normal distributions, hence the same numbers for the same seed.
standard_normal = _standard_normal


def has_gradient_hooks(leaf: Tensor) -> bool:
    """Whether functions are to be called with its gradient."""
    return bool(leaf._backward_hooks) or bool(leaf._post_accumulate_grad_hooks)


def has_hooks(optimizer: Optimizer) -> bool:
    """Whether functions are to run before or after its steps."""
    return bool(optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks)
