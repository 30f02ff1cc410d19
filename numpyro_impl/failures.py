"""Why a program stopped, in the user's own terms: the site it had reached and the user's frames."""

from __future__ import annotations

import traceback
from types import TracebackType

from jax import errors

from twinplate.errors import InputError
from twinplate.records.record import Failure
from twinplate.user_code import error_text, is_users_file

SCORING = {
    "compute_log_probs": "site",
    "get_importance_trace": "site",
    "get_importance_trace_enum": "site",
    "traced_site": "node",
}
UNTRACEABLE = {
    errors.TracerBoolConversionError: "decides by a value (if, while, and, assert)",
    errors.NonConcreteBooleanIndexError: "selects by a mask, so that a shape depends on values",
    errors.TracerArrayConversionError: "gives a value to NumPy or to Python",
    errors.TracerIntegerConversionError: "takes a value for a size or an index",
    errors.ConcretizationTypeError: "takes a value for a number of Python, a size or a shape",
}
SAMPLING = ("sample", "deterministic", "param", "_masked_observe", "factor")


def failure_of(error: Exception, stage: str, reached: str | None) -> Failure:
    """The failure; `reached` is the last site seen, if the error did not arise inside one."""
    text = "".join(traceback.format_list(_users_frames(error))).rstrip()
    site = _site(error.__traceback__) or reached
    return Failure(stage, site, error_text(error), text)


def untraceable(error: Exception) -> InputError | None:
    """The error for a program that asks JAX for a value before there is one; None for any other error."""
    what = next((text for kind, text in UNTRACEABLE.items() if isinstance(error, kind)), None)
    if what is None and "Shapes must be 1D sequences of concrete values" in str(error):
        what = "takes a value for a shape"
    if what is None:
        return None
    own = _users_frames(error)
    line = f"{own[-1].filename}:{own[-1].lineno}, {own[-1].line!r}," if own else "the program"
    return InputError(
        f"{line} {what}, and values are known only when the compiled steps run; expected choices and shapes "
        "that follow from shapes and whole numbers: use jnp.where, jax.lax.cond or numpyro.handlers.mask "
        "and jax.numpy, compute sizes beforehand, or in `run` by NumPy of its arguments (np.unique(groups), "
        "not jnp.unique), or fix an argument: CompiledSVI(..., name=value)"
    )


def _users_frames(error: Exception) -> list[traceback.FrameSummary]:
    frames = traceback.extract_tb(error.__traceback__)
    return [frame for frame in frames if is_users_file(frame.filename)]


def _site(tb: TracebackType | None) -> str | None:
    """Name of the site whose statement was running when the error arose."""
    found = None
    while tb is not None:
        code = tb.tb_frame.f_code
        if code.co_name in SAMPLING and code.co_filename.endswith("numpyro/primitives.py"):
            found = tb.tb_frame.f_locals.get("name", found)
        site = tb.tb_frame.f_locals.get(SCORING.get(code.co_name, ""))  # its density, not its draw
        found = site["name"] if isinstance(site, dict) and "name" in site else found
        tb = tb.tb_next
    return found
