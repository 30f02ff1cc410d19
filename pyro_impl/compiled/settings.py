"""Settings of torch that its compiler looks at: the process that compiles has those of its caller."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils import deterministic

memory: Any = deterministic  # which gets its attributes at run time


def matmul_precision() -> list[str]:
    """That of products in single precision: for all backends, or by CUDA's and oneDNN's own.

    torch's function for all refuses where one was set by the newer names, which torch 2.6 does not have.
    """
    try:
        return [torch.get_float32_matmul_precision()]
    except RuntimeError:
        return [backend.fp32_precision for backend in _own_backends()]


def set_matmul_precision(found: list[str]) -> None:
    """What `matmul_precision` has found."""
    if len(found) == 1:
        torch.set_float32_matmul_precision(found[0])
        return
    for backend, precision in zip(_own_backends(), found, strict=True):
        backend.fp32_precision = precision


def _own_backends() -> list[Any]:
    backends: Any = torch.backends  # of which `mkldnn.matmul` is made at run time
    return [backends.cuda.matmul, backends.mkldnn.matmul]


def settings() -> dict[str, Any]:
    """Those of this process, for JSON."""
    return {
        "threads": torch.get_num_threads(),  # of which it makes loops for so many
        "default": str(torch.get_default_dtype()),
        "precision": matmul_precision(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warns_only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "fills": memory.fill_uninitialized_memory,
    }


def set_settings(found: dict[str, Any]) -> None:
    """What `settings` has found, in another process."""
    torch.set_num_threads(found["threads"])
    torch.set_default_dtype(getattr(torch, found["default"].removeprefix("torch.")))
    set_matmul_precision(found["precision"])
    torch.use_deterministic_algorithms(found["deterministic"], warn_only=found["warns_only"])
    memory.fill_uninitialized_memory = found["fills"]
