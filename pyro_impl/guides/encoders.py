"""An encoder of a guide: how it is called, and whether what it learns reaches the optimiser."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pyro
from torch import Tensor, nn

from pyro_impl.reachable import places_of
from twinplate.errors import InputError
from twinplate.guides.arguments import type_clash

Encoder = Callable[..., Tensor]  # a module, or a function


def encode(name: str, encoder: Encoder, *inputs: Tensor) -> Tensor:
    """What the encoder makes of its inputs; a module's parameters are registered under `name`.

    Values that Pyro's store has already, from a file or another guide, become the module's own: otherwise the
    optimiser would move those, and the guide compute with the others. Raises InputError for a module that
    stops at inputs of another type than its parameters.
    """
    if not isinstance(encoder, nn.Module):
        return encoder(*inputs)
    module = pyro.module(name, encoder, update_module_params=True)
    try:
        return module(*inputs)
    except RuntimeError as error:
        types = _types(inputs), _types(encoder.parameters())
        if not all(types) or types[0] == types[1]:
            raise
        raise InputError(type_clash(*types)) from error


def _types(tensors: Iterable[Tensor]) -> list[str]:
    return sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors})


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
