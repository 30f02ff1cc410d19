"""Base noise from outside: the same program, its standard normal numbers given.

    with base_noise({"a_aux": noise}):
        elbo.differentiable_loss(model, guide, x)

The program and its densities stay what they are; only the random numbers come from the caller. This
is how both twins can consume the same noise.
"""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

# These leave the values of what they wrap alone; others with a `base_dist` (truncation, inflation) do not.
WRAPPERS = (dist.Independent, dist.MaskedDistribution, dist.ExpandedDistribution)


class base_noise(Messenger):  # noqa: N801  (handlers are lower case in Pyro)
    """Draw the sites named in `noise` from it instead of from the random number generator.

    `noise[name]` is (P, *shape), shape that of one particle's base noise at the site. A site in the
    plate of vectorised particles takes all of it at once; otherwise each visit takes the next of
    the P rows. Raises ValueError when a site asks for more than there is.

    >>> import pyro
    >>> with base_noise({"z": torch.tensor([0.5])}):
    ...     z = pyro.sample("z", dist.Normal(1.0, 2.0))
    >>> float(z)
    2.0
    """

    def __init__(self, noise: dict[str, Tensor]) -> None:
        super().__init__()
        self.noise = noise

    def __enter__(self) -> Any:
        self._rows = {name: iter(values) for name, values in self.noise.items()}
        return super().__enter__()

    def _pyro_sample(self, msg: Any) -> None:
        name = msg["name"]
        if name not in self.noise or msg["value"] is not None or msg["is_observed"]:
            return
        shape = noise_shape(msg["fn"])
        given = self.noise[name]
        whole = given.numel() == shape.numel() and given.shape[0] != 1
        values = given if whole else next(self._rows[name], None)
        if values is None or values.numel() != shape.numel():
            raise ValueError(
                f"base noise of site {name!r} has shape {tuple(self.noise[name].shape)}; expected "
                f"(particles, ...) with {shape.numel()} numbers for each visit of shape {tuple(shape)}"
            )
        msg["value"] = push_forward(msg["fn"], values.reshape(shape))


def noise_shape(fn: Any) -> torch.Size:
    """Shape of the base noise of one draw: the draw's own, or (*batch, K + R) for a low rank."""
    size = getattr(unwrapped(fn), "noise_size", None)
    return fn.shape() if size is None else torch.Size((*fn.shape()[:-1], size))


def push_forward(fn: Any, noise: Tensor) -> Tensor:
    """The draw of `fn` that belongs to standard normal `noise`, differentiable in its parameters.

    Raises TypeError for a family that is no transformed normal.
    """
    fn = unwrapped(fn)
    if hasattr(fn, "from_noise"):
        return fn.from_noise(noise)
    if isinstance(fn, dist.Normal):
        return fn.loc + fn.scale * noise
    if isinstance(fn, dist.MultivariateNormal):
        return fn.loc + (fn.scale_tril @ noise.unsqueeze(-1)).squeeze(-1)
    if hasattr(fn, "transforms"):
        value = push_forward(fn.base_dist, noise)
        for transform in fn.transforms:
            value = transform(value)
        return value
    raise TypeError(f"base noise is standard normal; {type(fn).__name__} is not drawn from it")


def unwrapped(fn: Any) -> Any:
    """`fn` without the wrappers that leave its values alone: independent, masked, expanded."""
    while isinstance(fn, WRAPPERS):
        fn = fn.base_dist
    return fn
