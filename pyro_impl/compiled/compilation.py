"""A captured graph as machine code, or on a GPU as a CUDA graph."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pyro_impl.compiled.agreement import rewinding
from pyro_impl.compiled.errors import CannotCompileError
from pyro_impl.compiled.lowering import Lowered
from pyro_impl.torch_private import machine_code, stays_in_place, tree_map

# The random numbers are those of the eager program: drawn by torch's generator, not by one that the compiler
# writes into its loops, and in the order of the program, which moving operations together would change.
OPTIONS: dict[str, str | int | bool | Callable[..., Any]] = {
    "fallback_random": True,
    "reorder_for_locality": False,
}


def compile_graph(
    graph: Lowered, arguments: Sequence[Tensor], written: Sequence[Tensor]
) -> Callable[..., Any]:
    """Machine code for `graph` on arguments of these shapes; on a GPU as one CUDA graph.

    written: those of its tensors that it writes into.

    Raises CannotCompileError where torch's compiler fails, as it does without a C++ compiler.
    """
    inputs = [*graph.tensors, *arguments]
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are about the compiler's own code
            if _on_gpu(inputs):
                return _cuda_graph(graph, inputs, written)
            return _machine_code(graph, inputs)
    except Exception as error:
        raise CannotCompileError(_compiler_reason(error)) from error


def _machine_code(graph: Lowered, inputs: list[Tensor]) -> Callable[..., Any]:
    run = machine_code(graph.module, inputs, OPTIONS)

    def quiet(*inputs: Tensor) -> Any:
        with (
            torch.no_grad()
        ):  # gradients are in the graph; torch allows no writing into leaves otherwise
            return run(*inputs)

    return quiet


def _on_gpu(tensors: list[Tensor]) -> bool:
    return any(t.is_cuda for t in tensors)


def _cuda_graph(
    graph: Lowered, inputs: list[Tensor], written: Sequence[Tensor]
) -> Callable[..., Any]:
    for tensor in graph.tensors:  # others are copied to where the graph was recorded, in every step
        stays_in_place(tensor)
    options = OPTIONS | {"triton.cudagraphs": True}
    run = torch.compile(graph.module, dynamic=False, options=options)

    def cloned(*inputs: Tensor) -> Any:
        torch.compiler.cudagraph_mark_step_begin()
        with torch.no_grad():  # the next replay overwrites what this one returns
            return tree_map(Tensor.clone, run(*inputs))

    # torch.compile compiles in the first call, so that one is made here, where a compiler that fails is
    # caught. It counts for nothing: what it writes and draws is undone, and arguments are copies.
    rewind = rewinding(written)
    arguments = [t.clone() for t in inputs[len(graph.tensors) :]]
    cloned(*graph.tensors, *arguments)
    rewind()
    return cloned


def _compiler_reason(error: BaseException) -> str:
    """What torch's compiler says; that a C++ compiler is missing, which is the usual reason, in our words."""
    chain: list[BaseException] = [error]
    for link in chain:
        chain += [e for e in (link.__cause__, getattr(link, "inner_exception", None)) if e]
    # A compiler looked for by its name alone, in folders of which the user may not read one.
    not_started = (e.filename for e in chain if isinstance(e, PermissionError))
    if any(type(link).__name__ == "InvalidCxxCompiler" for link in chain) or any(
        name and os.sep not in str(name) for name in not_started
    ):
        return "torch.compile finds no C++ compiler; install g++ or clang, or point CXX to one"
    text = str(error).strip().splitlines() or [""]
    return f"torch's compiler failed: {type(error).__name__}: {text[0]}"
