"""What a step computes, counted in the program of the loop that takes it."""

from __future__ import annotations

import math
from typing import Any

from jax.extend import core

from numpyro_impl.jaxprs import inner_jaxprs


def step_operations(loop: core.Jaxpr) -> float:
    """Floating-point operations of one turn of `loop`: one for each number, two for each product of a matrix.

    Infinite where a loop in the step takes as many turns as it needs. XLA's own count, that of
    `jax.stages.Lowered.cost_analysis`, has one turn of every loop, also of a `scan` of thousands.
    """
    return _operations(loop, within=False)


def _operations(jaxpr: core.Jaxpr, within: bool) -> float:
    """within: a turn of the loop of steps."""
    total = 0.0
    for equation in jaxpr.eqns:
        name, options = equation.primitive.name, equation.params
        if name == "while" and within:
            return math.inf
        inner = [_operations(j, within or name == "while") for j in inner_jaxprs(options.values())]
        turns = options["length"] if name == "scan" else 1
        total += turns * sum(inner) if inner else _made(equation)
    return total


def _made(equation: Any) -> float:
    numbers = sum(math.prod(made.aval.shape) for made in equation.outvars)
    name, options = equation.primitive.name, equation.params
    if name == "dot_general":
        (summed, _), _ = options["dimension_numbers"]
        return 2.0 * numbers * math.prod(equation.invars[0].aval.shape[dim] for dim in summed)
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        channels = kernel[options["dimension_numbers"].rhs_spec[0]]
        return 2.0 * numbers * math.prod(kernel) / channels
    return float(numbers)
