"""Correct pairs: one realistic program each, written in both frameworks, and the cases to verify it on.

Every top-level `Case` of a file here must be found "same". Mistakes are made in copies of these files.
The tests beside them (`test_*.py`) say so.
"""

from pathlib import Path


def all_pairs() -> list[str]:
    """Names of the files that hold pairs."""
    files = (path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))
    return sorted(name for name in files if not name.startswith("test_"))
