"""A program that stops in double precision only, because its own text fixes a type of 32 bits."""

from __future__ import annotations

import re

from twinplate.verification.comparison.numbers import DrawPair

FOLLOWS = {  # what follows the precision of a run, in the words of each framework
    "pyro": "dtype=torch.get_default_dtype(), or no dtype,",
    "numpyro": "dtype=float and dtype=int",
}
OF_TYPES = re.compile(r"\bd?types?\b", re.IGNORECASE)
LINE = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')


def only_in_single(pair: DrawPair, which: str) -> str:
    """What to say of a program that stops in double precision but not in single; empty for any other."""
    failure, single = pair.run(which).failure, pair.run(which, "float32")
    if failure is None or single.failure is not None or single.loss is None:
        return ""
    if not OF_TYPES.search(failure.error):
        return ""
    lines = list(LINE.finditer(failure.traceback))
    where = f" at {lines[-1]['file']}:{lines[-1]['line']}" if lines else ""
    follows = FOLLOWS[getattr(pair, which).framework]
    return (
        f"it runs in single precision only, and programs are compared in double; a type of 32 bits is fixed"
        f"{where}, or in what is used there: {follows} mend it, which follow the precision. "
    )
