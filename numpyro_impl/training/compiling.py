"""How much XLA makes of the loop of a run: less where the run is over before more would have paid."""

from __future__ import annotations

from typing import Any

import jax

from twinplate.training.preparation import Preparation

# Machine code without optimisation is there in a third of the time, and its steps take two to eight times as
# long (`benchmarks/compile_effort.py`). What a step takes more grows with the parameters times the items of
# its mini-batch and particles, from STEP on; a run is short where that is less than SHORT in all steps. Both
# take as long at 8.5e9. Less is better for whoever fits again: all is on disk then, but for the slow steps.
STEP = 1.5e6
SHORT = 2.5e9
QUICK = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}


def compile_options(run: Preparation, fits: int, device: jax.Device) -> dict[str, Any] | None:
    """What XLA is told for `fits` runs like this one; None for what it does by itself.

    All steps of a run count, also those that are done: one that goes on is to have the numbers of one that
    was never interrupted.
    """
    training = run.training
    numbers = sum(values.size for values in run.state.params.values())
    items = fits * training.batch_size * training.particles
    is_short = training.steps * (STEP + items * numbers) < SHORT
    return QUICK if is_short and device.platform == "cpu" else None


def machine_code(lowered: Any, options: dict[str, Any] | None) -> Any:
    """What XLA makes of a program as it is told, or by itself where a release knows no such option."""
    if options is not None:
        try:
            return lowered.compile(compiler_options=options)
        except jax.errors.JaxRuntimeError as error:
            if "No such compile option" not in str(error):
                raise
    return lowered.compile()
