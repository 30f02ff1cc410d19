"""Why a program stopped, in the user's own terms: the site it had reached and the user's frames."""

from __future__ import annotations

import traceback
from pathlib import Path
from types import TracebackType

from twinplate.records.record import Failure

HERE = Path(__file__).parent
HIDDEN = {str(path) for path in (*(HERE / "recording").glob("*.py"), *HERE.glob("*.py"))}
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
        if code.co_name in SAMPLING and code.co_filename.endswith("pyro/primitives.py"):
            found = tb.tb_frame.f_locals.get("name", found)
        tb = tb.tb_next
    return found
