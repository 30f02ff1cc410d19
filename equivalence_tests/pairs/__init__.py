"""Correct pairs: one realistic program each, written in both frameworks, and the cases to verify it on.

Every top-level `Case` of a file here must be found "same". Mistakes are made in copies of these files.
The tests beside them (`test_*.py`) say so.
"""

from importlib.util import find_spec
from pathlib import Path

# Pairs whose package comes with the extra `dev` alone.
NEEDS = {"equinox_networks": "equinox", "haiku_networks": "haiku"}


def all_pairs() -> list[str]:
    """Names of the files that hold pairs, but for those whose package is not installed."""
    files = (path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))
    return sorted(name for name in files if not name.startswith("test_") and is_installed(name))


def is_installed(pair: str) -> bool:
    """Whether the package that a pair needs, if any, is there."""
    return pair not in NEEDS or find_spec(NEEDS[pair]) is not None
