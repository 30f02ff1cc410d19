"""Settings of torch that its compiler looks at: the process that compiles has those of its caller."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils import deterministic

memory: Any = deterministic  # which gets its attributes at run time


def settings() -> dict[str, Any]:
    """Those of this process, for JSON."""
    return {
        "threads": torch.get_num_threads(),  # of which it makes loops for so many
        "default": str(torch.get_default_dtype()),
        "precision": torch.get_float32_matmul_precision(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warns_only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "fills": memory.fill_uninitialized_memory,
    }


def set_settings(found: dict[str, Any]) -> None:
    """What `settings` has found, in another process."""
    torch.set_num_threads(found["threads"])
    torch.set_default_dtype(getattr(torch, found["default"].removeprefix("torch.")))
    torch.set_float32_matmul_precision(found["precision"])
    torch.use_deterministic_algorithms(found["deterministic"], warn_only=found["warns_only"])
    memory.fill_uninitialized_memory = found["fills"]
