"""twinplate's programs on NumPyro and JAX: the models, the guides, their training and evaluation."""

from typing import TYPE_CHECKING

from twinplate.lazily import public_names

if TYPE_CHECKING:
    from numpyro_impl.public import *  # noqa: F403

__getattr__, __dir__ = public_names(__name__)
