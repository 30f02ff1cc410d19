"""Why a program stopped, in the user's own terms: the site it had reached and the user's frames."""

from __future__ import annotations

import traceback
from types import TracebackType

from twinplate.records.record import Failure
from twinplate.user_code import error_text, is_users_file

SAMPLING = ("sample", "deterministic", "param", "_masked_observe", "factor")


def failure_of(error: Exception, stage: str, reached: str | None) -> Failure:
    """The failure; `reached` is the last site seen, if the error did not arise inside one."""
    text = "".join(traceback.format_list(_users_frames(error))).rstrip()
    site = _site(error.__traceback__) or reached
    return Failure(stage, site, error_text(error), text)


def _users_frames(error: Exception) -> list[traceback.FrameSummary]:
    frames = traceback.extract_tb(error.__traceback__)
    return [frame for frame in frames if is_users_file(frame.filename)]


def _site(tb: TracebackType | None) -> str | None:
    """Name of the site whose statement was running when the error arose."""
    found = None
    while tb is not None:
        code = tb.tb_frame.f_code
        if code.co_name in SAMPLING and code.co_filename.endswith("pyro/primitives.py"):
            found = tb.tb_frame.f_locals.get("name", found)
        tb = tb.tb_next
    return found
