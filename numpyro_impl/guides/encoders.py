"""An encoder of a guide: how it is called, and whether what it learns reaches the optimiser."""

from __future__ import annotations

import sys
from typing import Any

import jax
from flax import linen, nnx
from jax import Array
from numpyro import handlers
from numpyro.contrib.module import eqx_module, flax_module, nnx_module

from numpyro_impl.reachable import places_of

Encoder = Any  # a module of flax (nnx or linen) or equinox, or a function


def encode(name: str, encoder: Encoder, *inputs: Array) -> Array:
    """What the encoder makes of its inputs; a module's parameters are registered under `name`.

    A module of equinox is called for one item at a time, as equinox's layers are written.
    """
    if isinstance(encoder, nnx.Module):
        return nnx_module(name, encoder)(*inputs)
    if isinstance(encoder, linen.Module):
        return flax_module(name, encoder, *inputs)(*inputs)
    if _is_equinox(encoder):
        return jax.vmap(eqx_module(name, encoder))(*inputs)
    return encoder(*inputs)


def left_out(encoder: Encoder, *inputs: Array) -> str | None:
    """The class of a module that a function calls and whose parameters no optimiser gets, if there is one.

    One that the function calls by `nnx_module` or its like is not left out.

    >>> net = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    >>> left_out(lambda x: net(x / 255), jax.numpy.ones((5, 3))), left_out(net)
    ('Linear', None)
    """
    if _is_module(encoder):
        return None
    nodes = handlers.trace(handlers.seed(encoder, 0)).get_trace(*inputs)
    if any(node["type"] == "param" for node in nodes.values()):
        return None
    held = (value for value, _ in places_of(encoder))
    return next((type(value).__name__ for value in held if _is_module(value)), None)


def _is_module(value: Any) -> bool:
    return isinstance(value, nnx.Module | linen.Module) or _is_equinox(value)


def _is_equinox(value: Any) -> bool:
    equinox = sys.modules.get("equinox")  # who has made a module has imported it
    return equinox is not None and isinstance(value, equinox.Module)
