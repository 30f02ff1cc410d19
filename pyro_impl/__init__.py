"""twinplate's programs on Pyro and torch: the models, the guides, their training and evaluation."""

from typing import TYPE_CHECKING

from twinplate.lazily import public_names

if TYPE_CHECKING:
    from pyro_impl.public import *  # noqa: F403

__getattr__, __dir__ = public_names(__name__)
