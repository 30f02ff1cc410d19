"""The framework-free core of twinplate: configuration, data, closed forms, runs on disk, commands.

Nothing here imports torch or JAX; `twinplate.backends` finds an implementation when one is asked for.
"""

from typing import TYPE_CHECKING

from twinplate.lazily import public_names

if TYPE_CHECKING:
    from twinplate.public import *  # noqa: F403

__version__ = "0.1.0"

__getattr__, __dir__ = public_names(__name__)
