"""Base noise from outside: the same program, its standard normal numbers given.

    with base_noise({"a_aux": noise}):
        Trace_ELBO().loss(key, params, model, guide, x)

The program and its densities stay what they are; only the random numbers come from the caller. This
is how both twins can consume the same noise.
"""

from __future__ import annotations

import math
from typing import Any

import numpyro.distributions as dist
from jax import Array, random
from numpyro.primitives import Messenger

# These leave the values of what they wrap alone; others with a `base_dist` (truncation, inflation) do not.
WRAPPERS = (dist.Independent, dist.MaskedDistribution, dist.ExpandedDistribution)


def key_of(seed: int) -> Array:
    """JAX's key of `seed`, and where that has more than the 32 bits JAX takes, the others folded in."""
    key = random.key(seed % 2**32)
    while seed := seed >> 32:
        key = random.fold_in(key, seed % 2**32)
    return key


class base_noise(Messenger):  # noqa: N801  (handlers are lower case in NumPyro)
    """Draw the sites named in `noise` from it instead of from the random key.

    `noise[name]` has the shape of one particle's base noise at the site: particles are a vmap, in
    which this handler is entered. Raises ValueError for another shape.

    >>> import jax.numpy as jnp
    >>> import numpyro
    >>> with base_noise({"z": jnp.array(0.5)}):
    ...     z = numpyro.sample("z", dist.Normal(1.0, 2.0))
    >>> float(z)
    2.0
    """

    def __init__(self, noise: dict[str, Array]) -> None:
        super().__init__(None)
        self.noise = noise

    def process_message(self, msg: dict[str, Any]) -> None:
        if msg["type"] != "sample" or msg["name"] not in self.noise or msg["value"] is not None:
            return
        name = msg["name"]
        values, shape = self.noise[name], noise_shape(msg["fn"])
        if values.size != math.prod(shape):
            raise ValueError(
                f"base noise of site {name!r} has shape {values.shape}; expected {shape}"
            )
        msg["value"], msg["intermediates"] = push_forward(msg["fn"], values.reshape(shape))


def noise_shape(fn: Any) -> tuple[int, ...]:
    """Shape of the base noise of one draw: the draw's own, or (*batch, K + R) for a low rank."""
    size = getattr(unwrapped(fn), "noise_size", None)
    return fn.shape() if size is None else (*fn.shape()[:-1], size)


def push_forward(fn: Any, noise: Array) -> tuple[Array, list[Array]]:
    """The draw of `fn` that belongs to standard normal `noise`, and the intermediates of that draw.

    Differentiable in the parameters of `fn`. Raises TypeError for a family that is no transformed
    normal.
    """
    fn = unwrapped(fn)
    if hasattr(fn, "from_noise"):
        return fn.from_noise(noise), [noise]
    if isinstance(fn, dist.Normal):
        return fn.loc + fn.scale * noise, []
    if isinstance(fn, dist.MultivariateNormal):
        return fn.loc + (fn.scale_tril @ noise[..., None])[..., 0], []
    if hasattr(fn, "transforms"):
        value, _ = push_forward(fn.base_dist, noise)
        for transform in fn.transforms:
            value = transform(value)
        return value, []
    raise TypeError(f"base noise is standard normal; {type(fn).__name__} is not drawn from it")


def unwrapped(fn: Any) -> Any:
    """`fn` without the wrappers that leave its values alone: independent, masked, expanded."""
    while isinstance(fn, WRAPPERS):
        fn = fn.base_dist
    return fn
