"""Where tensors live: a torch device and precision by name."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from twinplate.errors import InputError
from twinplate.host import host_memory

DTYPES = {"float32": torch.float32, "float64": torch.float64}


def find_device(name: str) -> torch.device:
    """ "auto" (a GPU if there is one), "cpu" or "gpu". Raises InputError if there is no GPU."""
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise InputError(
            "device is 'gpu' but torch sees none; use 'cpu' or 'auto', or install a torch with CUDA"
        )
    return torch.device("cuda")


def device_names() -> tuple[str, ...]:
    """What torch sees, the one that is taken by default first: "cpu", or the name of a GPU."""
    return *map(torch.cuda.get_device_name, range(torch.cuda.device_count())), "cpu"


def memory(device: torch.device) -> int:
    """Bytes of memory that belong to `device`."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return host_memory()


def to_tensor(values: np.ndarray, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A fresh tensor of `values`; nothing is shared with the array."""
    return torch.tensor(np.ascontiguousarray(values), dtype=dtype, device=device)
