"""A program's parameters: the leaves in Pyro's current store, and their constrained values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyro
import torch
from torch import Tensor
from torch.distributions import transform_to

from pyro_impl.arguments import to_leaf
from pyro_impl.recording.constraints import full_name_of
from pyro_impl.recording.sites import to_array
from twinplate.errors import InputError
from twinplate.records.record import Array, Parameter


def give(parameters: dict[str, Array], precision: str) -> None:
    """Put constrained values into the leaves, which modules share with the store; clear gradients.

    Leaves that are not named get the precision, too. Raises InputError for a value of another shape.
    """
    for name, (leaf, transform) in _leaves().items():
        values = to_leaf(leaf, precision)
        if name in parameters:
            values = transform.inv(to_leaf(parameters[name], precision)).contiguous()
        if values.shape != leaf.shape:
            raise InputError(
                f"parameter {name!r} has shape {np.shape(parameters[name])}; expected "
                f"{tuple(transform(leaf).shape)}"
            )
        leaf.grad = None
        leaf.data = values


def average_gradients(count: int) -> None:
    """Divide what `count` losses left in the leaves."""
    for leaf, _ in _leaves().values():
        if leaf.grad is not None:
            leaf.grad /= count


def recorded_parameters(with_gradients: bool) -> dict[str, Parameter]:
    """The record of all parameters."""
    return {
        name: Parameter(
            full_name_of(pyro.get_param_store().get_state()["constraints"][name]),
            to_array(transform(leaf.detach())),
            gradient_of(leaf) if with_gradients else None,
        )
        for name, (leaf, transform) in _leaves().items()
    }


def to_constrained(numbers: dict[str, Array]) -> dict[str, Array]:
    """Constrained values of the leaves' numbers, by name."""
    transforms = {name: transform for name, (_, transform) in _leaves().items()}
    return {name: to_array(transforms[name](torch.as_tensor(x))) for name, x in numbers.items()}


def to_unconstrained(values: dict[str, Array]) -> dict[str, Array]:
    """The inverse of `to_constrained`."""
    transforms = {name: transform for name, (_, transform) in _leaves().items()}
    return {name: to_array(transforms[name].inv(torch.as_tensor(x))) for name, x in values.items()}


def gradient_of(leaf: Tensor) -> Array:
    """What is in `grad`; zeros where no loss depends on the leaf."""
    return to_array(torch.zeros_like(leaf) if leaf.grad is None else leaf.grad)


def _leaves() -> dict[str, tuple[Tensor, Any]]:
    """Leaf and map to the constrained value by name; of a leaf with several names, by the last.

    AutoNormalizingFlow keeps the first of its flow's parameters under a name of its own.
    """
    state: Any = pyro.get_param_store().get_state()
    last = {id(leaf): name for name, leaf in state["params"].items()}
    return {
        name: (leaf, transform_to(state["constraints"][name]))
        for name, leaf in state["params"].items()
        if last[id(leaf)] == name
    }
