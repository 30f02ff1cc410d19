"""What the steps of training change and hand on, on the device: from a TrainingState and back."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import optax

from numpyro_impl.programs.parameters import NativeParams, to_native, to_neutral
from twinplate.training.state import Limits, TrainingState


class Carry(NamedTuple):
    """What the steps hand on, as a JAX tree.

    params: as NumPyro names them.  moments: Adam's, with the number of steps that are done.
    average: of the parameters of the steps so far.
    """

    params: NativeParams
    moments: optax.ScaleByAdamState
    average: NativeParams


def to_carry(state: TrainingState, dtype: jnp.dtype) -> Carry:
    """The state on the device, in NumPyro's names."""
    count = jnp.asarray(state.step, jnp.int32)
    params, mean, variance, average = (
        to_native(values, dtype)
        for values in (state.params, state.mean, state.variance, state.average)
    )
    return Carry(params, optax.ScaleByAdamState(count, mean, variance), average)


def to_state(carry: Carry, limits: Limits) -> TrainingState:
    """The inverse of `to_carry`, a copy on the host."""
    moments = carry.moments
    groups = (carry.params, moments.mu, moments.nu, carry.average)
    params, mean, variance, average = map(to_neutral, groups)
    return TrainingState(params, mean, variance, average, int(moments.count), limits)
