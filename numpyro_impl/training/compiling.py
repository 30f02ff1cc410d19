"""How much XLA makes of the loop of a run: less where the run is over before more would have paid."""

from __future__ import annotations

from typing import Any

import jax

from numpyro_impl.quick_compilation import loop_options
from twinplate.training.preparation import Preparation

OPERATIONS = 5  # of floating-point numbers for each item and parameter, as XLA counts them


def compile_options(run: Preparation, fits: int, device: jax.Device) -> dict[str, Any] | None:
    """What XLA is told for `fits` runs like this one; None for what it does by itself.

    All steps of a run count, also those that are done: one that goes on is to have the numbers of one that
    was never interrupted.
    """
    training = run.training
    numbers = sum(values.size for values in run.state.params.values())
    items = fits * training.batch_size * training.particles
    return loop_options(device.platform, training.steps, OPERATIONS * items * numbers)
