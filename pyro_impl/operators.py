"""Operations of our own in torch: each is one to whoever records a step, and to torch's compiler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def define(
    schema: str, on_cpu: Callable[..., Any], shape: Callable[..., Any], tags: tuple[Any, ...] = ()
) -> None:
    """`torch.ops.twinplate.NAME`, of the schema "NAME(…) -> …".

    on_cpu: what it does on a CPU. shape: an empty result, from arguments that may have no numbers.

    An operation is the process's, and stays: a module that is imported a second time finds it.
    """
    name, bracket, rest = schema.partition("(")
    if hasattr(torch.ops.twinplate, name):
        return
    qualified = f"twinplate::{name}"
    torch.library.define(qualified, bracket + rest, tags=tags)
    torch.library.impl(qualified, "CPU", on_cpu)
    torch.library.register_fake(qualified, shape)
