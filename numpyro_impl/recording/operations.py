"""Names of the numerical functions that a program calls, from its jaxpr."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import jax

from numpyro_impl.jaxprs import inner_jaxprs
from twinplate.user_code import owner_of_file

IDLE = {
    "broadcast_in_dim",
    "iota",
    "reshape",
    "slice",
    "squeeze",
}  # nothing is computed
_JAX = os.path.dirname(jax.__file__) + os.sep
SITES = "traced_program"  # the part of a compiled session that is the program itself


def operations(jaxpr: Any) -> set[str]:
    """Primitives and named functions called anywhere in the parts of `jaxpr` called `SITES`."""
    found: set[str] = set()
    for equation, path in _equations(jaxpr, ()):
        if SITES in path:
            found.add(_name(equation))
    return found - IDLE


def _equations(jaxpr: Any, path: tuple[str, ...]) -> Iterator[tuple[Any, tuple[str, ...]]]:
    for equation in jaxpr.eqns:
        yield equation, path
        inside = (*path, str(equation.params.get("name", "")))
        for inner in inner_jaxprs(equation.params.values()):
            yield from _equations(inner, inside)


def _is_own_betaln(equation: Any) -> bool:
    """Whether this lgamma is of a betaln that the program calls itself; it leaves no name in a jaxpr.

    That of a distribution is left out: the families have entries of their own.
    """
    traceback = equation.source_info.traceback
    frames = traceback.frames if traceback is not None else []
    names = [frame.function_name for frame in frames]
    if "betaln" not in names:
        return False
    callers = (f.file_name for f in frames[names.index("betaln") :])
    outside = next((name for name in callers if not name.startswith(_JAX)), "")
    return owner_of_file(outside) == "user"


def _name(equation: Any) -> str:
    """The name with the options that change numbers: where an index is clamped, what a cast makes."""
    name, options = equation.primitive.name, equation.params
    if name == "lgamma" and _is_own_betaln(equation):
        return "betaln"
    if name in ("jit", "pjit"):
        return str(options["name"])
    if name == "custom_jvp_call":  # a function with a derivative of its own, as log_ndtr
        return str(options["call_jaxpr"].jaxpr.debug_info.func_name)
    if name == "convert_element_type":
        return f"{name}({equation.invars[0].aval.dtype} to {options['new_dtype']})"
    if name in ("gather", "scatter"):
        return f"{name}(mode={str(options['mode']).rsplit('.')[-1].lower()})"
    return str(name)
