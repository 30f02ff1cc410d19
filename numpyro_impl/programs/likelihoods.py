"""The likelihoods of the reference models, and how encoders see their data.

`twinplate.programs.likelihood` has the formulas and the names of parameters.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array

from twinplate.programs.config import ProgramConfig
from twinplate.programs.likelihood import COUNTS
from twinplate.programs.shapes import check_rows


def split_rows(x: Array, config: ProgramConfig) -> tuple[Array, Array | None]:
    """Rows (B, D) or, where items have offsets, (B, D + 1): features (B, D), and offsets (B,) or None."""
    check_rows(x.shape, config.num_features, config.has_offsets)
    return (x[:, :-1], x[:, -1]) if config.has_offsets else (x, None)


def working(likelihood: str, x: Array, logs: Array | None) -> Array:
    """The working variable (B, D): of counts log(1 + x / offset), of zeros and ones 4 x - 2.

    logs: (B,), logarithms of the offsets over their geometric mean, so that their unit does not matter.
    """
    if likelihood in COUNTS:
        return jnp.log1p(x if logs is None else x * jnp.exp(-logs)[:, None])
    return 4.0 * x - 2.0 if likelihood == "bernoulli" else x


def entries(
    likelihood: str, predictor: Array, noise_scale: Array | float, concentration: Array | None
) -> dist.Distribution:
    """The distribution of every entry given its predictor (..., B, D).

    >>> float(entries("poisson", jnp.zeros(()), 1.0, None).mean)
    1.0
    """
    if likelihood == "normal":
        return dist.Normal(predictor, noise_scale)
    if likelihood == "bernoulli":
        return dist.BernoulliLogits(predictor)
    if likelihood == "poisson":
        return dist.Poisson(jnp.exp(predictor))
    assert concentration is not None
    return dist.NegativeBinomialLogits(concentration, predictor - jnp.log(concentration))
