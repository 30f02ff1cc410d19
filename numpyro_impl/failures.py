"""Why a program stopped, in the user's own terms: the site it had reached and the user's frames."""

from __future__ import annotations

import traceback
from pathlib import Path
from types import TracebackType

from twinplate.record import Failure

RECORDER = (
    "captured", "charts", "execution", "failures", "inputs", "learned", "operations", "program",
    "reattach", "session", "sites",
)  # fmt: skip
HIDDEN = {str(Path(__file__).with_name(f"{name}.py")) for name in RECORDER}
SCORING = {
    "compute_log_probs": "site",
    "get_importance_trace": "site",
    "get_importance_trace_enum": "site",
    "traced_site": "node",
}
SAMPLING = ("sample", "deterministic", "param", "_masked_observe", "factor")


def failure_of(error: Exception, stage: str, reached: str | None) -> Failure:
    """The failure; `reached` is the last site seen, if the error did not arise inside one."""
    own = [
        frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename)
    ]
    text = "".join(traceback.format_list(own)).rstrip()
    return Failure(
        stage, _site(error.__traceback__) or reached, f"{type(error).__name__}: {error}", text
    )


def _is_users(filename: str) -> bool:
    outside = "site-packages" not in filename and not filename.startswith("<")
    return outside and filename not in HIDDEN and "/lib/python" not in filename


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
