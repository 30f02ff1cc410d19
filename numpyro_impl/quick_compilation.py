"""What XLA is told where compiling would take longer than what it saves: programs that run a few times."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import jax

# Machine code without optimisation is there in a third of the time.
QUICK: dict[str, Any] = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}


@cache
def quick_options(platform: str) -> dict[str, Any] | None:
    """Those of `QUICK` that this release of XLA knows; from jax 0.11 on it lacks one. None but on a CPU."""
    if platform != "cpu":
        return None
    if _are_known(QUICK):
        return QUICK
    return {name: value for name, value in QUICK.items() if _are_known({name: value})}


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
