"""What XLA is told where compiling would take longer than what it saves: programs that run a few times.

Machine code without optimisation is there in a third of the time. A step takes two to eight times as long
(`benchmarks/compile_effort.py`), more of it the more it computes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from threading import Lock
from typing import Any

import jax

UNOPTIMISED = "jax_disable_most_optimizations"
QUICK: dict[str, Any] = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}

# A loop is short where what its steps compute, and STEP for each, is less than SHORT, in floating-point
# operations. Both ways take as long at three times that, and less is better for whoever runs it again: all
# is on disk then, but for the slow steps.
STEP = 7.5e6
SHORT = 1.4e10


class QuickFunctions:
    """While any thread is within, JAX optimises nothing that it compiles on a CPU.

    Of what runs operation by operation each is a program, and compiling them all takes seconds. By JAX's own
    option, which is all threads'; the user's wish afterwards.
    """

    def __init__(self) -> None:
        self._lock, self._within, self._wish = Lock(), 0, False

    def __enter__(self) -> None:
        config: Any = jax.config
        with self._lock:
            if not self._within:
                self._wish = config.read(UNOPTIMISED)
                config.update(UNOPTIMISED, self._wish or jax.default_backend() == "cpu")
            self._within += 1

    def __exit__(self, *raised: object) -> None:
        with self._lock:
            self._within -= 1
            if not self._within:
                jax.config.update(UNOPTIMISED, self._wish)


quick_functions = QuickFunctions()


@cache
def quick_options(platform: str) -> dict[str, Any] | None:
    """Those of `QUICK` that this release of XLA knows; from jax 0.11 on it lacks one. None but on a CPU."""
    if platform != "cpu":
        return None
    if _are_known(QUICK):
        return QUICK
    return {name: value for name, value in QUICK.items() if _are_known({name: value})}


def loop_options(platform: str, steps: int, operations: float) -> dict[str, Any] | None:
    """`QUICK` where so many steps of so many floating-point operations are over before optimising pays.

    None for what XLA does by itself, as a release does that lacks an option.
    """
    short = steps * (STEP + operations) < SHORT
    options = quick_options(platform) if short else None
    return options if options == QUICK else None


def compiled_quickly(function: Callable[..., Any]) -> jax.stages.Wrapped:
    """The function for a few calls on JAX's own device."""
    return jax.jit(function, compiler_options=quick_options(jax.default_backend()))


def _are_known(options: dict[str, Any]) -> bool:
    try:
        jax.jit(lambda: 0, compiler_options=options).lower().compile()
    except jax.errors.JaxRuntimeError as error:
        if "No such compile option" in str(error):
            return False
        raise
    return True
