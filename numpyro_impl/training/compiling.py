"""How much XLA makes of the loop of a run: less where the run is over before more would have paid."""

from __future__ import annotations

from typing import Any

import jax

from numpyro_impl.quick_compilation import QUICK, quick_options
from twinplate.training.preparation import Preparation

# Machine code that is compiled quickly takes two to eight times as long for a step
# (`benchmarks/compile_effort.py`). What a step takes more grows with the parameters times the items of
# its mini-batch and particles, from STEP on; a run is short where that is less than SHORT in all steps. Both
# take as long at 8.5e9. Less is better for whoever fits again: all is on disk then, but for the slow steps.
STEP = 1.5e6
SHORT = 2.5e9


def compile_options(run: Preparation, fits: int, device: jax.Device) -> dict[str, Any] | None:
    """What XLA is told for `fits` runs like this one; None for what it does by itself.

    All steps of a run count, also those that are done: one that goes on is to have the numbers of one that
    was never interrupted. A release that lacks an option does what it does.
    """
    training = run.training
    numbers = sum(values.size for values in run.state.params.values())
    items = fits * training.batch_size * training.particles
    is_short = training.steps * (STEP + items * numbers) < SHORT
    options = quick_options(device.platform) if is_short else None
    return options if options == QUICK else None
