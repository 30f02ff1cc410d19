"""An encoder of a guide: how it is called, and whether what it learns reaches the optimiser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
from torch import Tensor, nn

from pyro_impl.reachable import places_of

Encoder = Callable[..., Tensor]  # a module, or a function


def encode(name: str, encoder: Encoder, *inputs: Tensor) -> Tensor:
    """What the encoder makes of its inputs; a module's parameters are registered under `name`.

    Values that Pyro's store has already, from a file or another guide, become the module's own: otherwise the
    optimiser would move those, and the guide compute with the others.
    """
    if isinstance(encoder, nn.Module):
        return pyro.module(name, encoder, update_module_params=True)(*inputs)
    return encoder(*inputs)


def left_out(encoder: Encoder, *inputs: Tensor) -> str | None:
    """The class of a module that a function calls and whose parameters no optimiser gets, if there is one.

    A frozen module (`requires_grad_(False)`) and one that is called by `pyro.module` are not left out.

    >>> net = nn.Linear(3, 2)
    >>> left_out(lambda x: net(x / 255)), left_out(net)
    ('Linear', None)
    """
    if isinstance(encoder, nn.Module):
        return None
    known = {id(leaf) for _, leaf in pyro.get_param_store().named_parameters()}
    held: list[Any] = [value for value, _ in places_of(encoder) if isinstance(value, nn.Module)]
    lost = (m for m in held if any(p.requires_grad and id(p) not in known for p in m.parameters()))
    return next((type(module).__name__ for module in lost), None)
