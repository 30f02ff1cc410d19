"""Runs of a NumPyro program, and what is compared of them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jax import random
from numpyro_cases import data


def adam():
    return numpyro.optim.Adam(0.05)


def run(kind, make, optim=adam, key=0, steps=10, arguments=None, **settings):
    model, guide, loss = make()
    svi = kind(model, guide, optim(), loss)
    args = data() if arguments is None else arguments
    return svi, svi.run(random.key(key), steps, *args, progress_bar=False, **settings)


def numbers(tree):
    """Leaves as arrays; keys as the numbers that they are."""

    def plain(leaf):
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.asarray(random.key_data(leaf) if is_key else leaf)

    return [plain(leaf) for leaf in jax.tree.leaves(tree)]


def assert_same(found, expected, rtol=1e-10):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    leaves = numbers(found)
    assert len(leaves) > 3
    for ours, theirs in zip(leaves, numbers(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol)
        assert ours.dtype == theirs.dtype
