"""Where torch keeps what its compiler made; it does so by itself."""

from __future__ import annotations

import getpass
import os
import tempfile
from pathlib import Path


def kept_in() -> Path:
    """The directory of compiled programs: `TORCHINDUCTOR_CACHE_DIR`, or torch's default beside it."""
    chosen = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    return Path(chosen or Path(tempfile.gettempdir(), f"torchinductor_{getpass.getuser()}"))
