"""The reference program written out in JAX, without NumPyro: what `twinplate bench` measures against.

The work is that of the auxiliary guide with a full covariance: the same encoder, base noise and Adam.
Only the way from the encoder's numbers to `z = loc + L ε` differs, and `FORMS` has them all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax, random

from numpyro_impl.device import to_array
from numpyro_impl.programs.parameters import to_native
from twinplate.bench.workload import SEED, Workload, filled_order
from twinplate.programs.positive import UNIT_SHIFT
from twinplate.training.plan import Chunk

# flat (B, K (K + 1) / 2), noise (B, K) -> L ε (B, K) and log det L (B,)
Form = Callable[[Array, Array], tuple[Array, Array]]


def scatter(flat: Array, size: int) -> Array:
    """L (B, K, K) with its entries scattered into zeros: diagonal first, then row by row."""
    rows, columns = jnp.tril_indices(size, -1)
    diagonal = jnp.arange(size)
    tril = jnp.zeros((len(flat), size, size), flat.dtype)
    tril = tril.at[:, rows, columns].set(flat[:, size:])
    return tril.at[:, diagonal, diagonal].set(positive(flat[:, :size]))


def filled(flat: Array, size: int) -> Array:
    """L (B, K, K) without a scatter, from numbers in `filled_order`: concatenate, reverse, reshape."""
    square = jnp.concatenate([flat[:, size:], flat[:, ::-1]], -1).reshape(-1, size, size)
    diagonal = positive(jnp.diagonal(square, axis1=-2, axis2=-1))
    return jnp.tril(square, -1) + diagonal[:, :, None] * jnp.eye(size, dtype=flat.dtype)


def _matrix_form(build: Callable[[Array, int], Array]) -> Form:
    """L ε by way of L itself."""

    def form(flat: Array, noise: Array) -> tuple[Array, Array]:
        tril = build(flat, noise.shape[1])
        log_diagonal = jnp.log(jnp.diagonal(tril, axis1=-2, axis2=-1)).sum(-1)
        return jnp.einsum("bij,bj->bi", tril, noise), log_diagonal

    return form


def _packed(flat: Array, noise: Array) -> tuple[Array, Array]:
    """d·ε + (flat · (ε C)) R with constant 0/1 matrices C and R: L is never built."""
    size = noise.shape[1]
    rows, columns = np.tril_indices(size, -1)
    spread = jnp.asarray(np.eye(size)[:, columns], flat.dtype)  # C (K, K (K - 1) / 2)
    gather = jnp.asarray(np.eye(size)[rows], flat.dtype)  # R (K (K - 1) / 2, K)
    diagonal = positive(flat[:, :size])
    value = diagonal * noise + (flat[:, size:] * (noise @ spread)) @ gather
    return value, jnp.log(diagonal).sum(-1)


def _rows(flat: Array, noise: Array) -> tuple[Array, Array]:
    """One sum for each row of L, the batch last: best for a small K."""
    size, flat, noise = noise.shape[1], flat.T, noise.T
    diagonal = positive(flat[:size])
    value, start = [diagonal[0] * noise[0]], size
    for i in range(1, size):
        lower = flat[start : start + i]
        value.append(diagonal[i] * noise[i] + (lower * noise[:i]).sum(0))
        start += i
    return jnp.stack(value, -1), jnp.log(diagonal).sum(0)


def _no_triangle(flat: Array, noise: Array) -> tuple[Array, Array]:
    """The floor: every number of `flat` is used once and no L is formed. No guide, but the same products."""
    size = noise.shape[1]
    # Quadratic, so that the gradient is a full matrix and the product with it cannot be skipped.
    return noise + flat[:, :size], 0.5 * jnp.square(flat[:, size:]).sum(-1)


FORMS: dict[str, Form] = {
    "scatter": _matrix_form(scatter),
    "filled": _matrix_form(filled),
    "packed": _packed,
    "rows": _rows,
    "floor": _no_triangle,
}
LARGEST_ROWS = 16  # K up to which one sum for each row is worth compiling


def positive(numbers: Array) -> Array:
    """softplus(numbers + UNIT_SHIFT), 1 at 0."""
    return jax.nn.softplus(numbers + UNIT_SHIFT)


def _encode(params: Any, x: Array, center: Array, spread: Array) -> tuple[Array, Array]:
    """loc (B, K) and flat (B, K (K + 1) / 2) of a complete mini-batch `x` (B, D)."""
    features = hidden = (x - center) / spread
    for layer in ("hidden1", "hidden2"):
        # Nothing is missing: the missing indicators are zero, and their half of the weights is unused.
        kernel = params[layer]["kernel"][: hidden.shape[1]]
        hidden = jax.nn.silu(hidden @ kernel + params[layer]["bias"])
    out = hidden @ params["out"]["kernel"] + params["out"]["bias"]
    size = params["skip"]["kernel"].shape[1]
    return out[:, :size] + features @ params["skip"]["kernel"], out[:, size:]


def _negative_elbo(
    form: Form, fixed: dict[str, Array], params: Any, x: Array, noise: Array
) -> Array:
    """Summed over the mini-batch `x` (B, D), with base noise (B, K)."""
    loc, flat = _encode(params, x, fixed["center"], fixed["spread"])
    spread, log_diagonal = form(flat, noise)
    z = loc + spread
    scale = fixed["noise_scale"]
    misfit = (x - z @ fixed["loadings"].T - fixed["intercept"]) / scale
    log_density = -0.5 * jnp.square(misfit) - jnp.log(scale) - 0.5 * math.log(2 * math.pi)
    log_likelihood = log_density.sum()
    # The π of prior and guide cancel.
    log_prior = -0.5 * jnp.square(z).sum()
    log_guide = -0.5 * jnp.square(noise).sum() - log_diagonal.sum()
    return log_guide - log_prior - log_likelihood


def encoder_params(work: Workload, form: str) -> Any:
    """The encoder's first values; "filled" wants the last layer's outputs in another order."""
    params = to_native(work.params, jnp.float32)["encoder$params"]
    if form == "filled":
        k = work.size.num_components
        order = np.concatenate([np.arange(k), k + filled_order(k)])
        params["out"] = {name: values[..., order] for name, values in params["out"].items()}
    return params


def start(work: Workload, form: str) -> Callable[[Chunk], np.ndarray]:
    """A training run with `form`: called with a chunk, it takes its steps; losses per item (steps,)."""
    k, share = work.size.num_components, work.size.num_items / work.size.batch_size
    fixed = {name: to_array(values, jnp.float32) for name, values in work.program.fixed.items()}
    loss = partial(_negative_elbo, FORMS[form], fixed)
    adam = optax.scale_by_adam()

    def step(data: Array, carry: Any, inputs: Any) -> tuple[Any, Array]:
        params, moments = carry
        key, indices, rate, given = inputs
        x = data[indices]
        noise = random.normal(key, (len(x), k), x.dtype) if given is None else given
        value, gradient = jax.value_and_grad(loss)(params, x, noise)
        gradient = jax.tree.map(lambda g: share * g, gradient)
        direction, moments = adam.update(gradient, moments)
        return (jax.tree.map(lambda p, d: p - rate * d, params, direction), moments), share * value

    @partial(jax.jit, donate_argnums=1)
    def run(data: Array, carry: Any, key: Array, indices: Array, rates: Array, given: Any) -> Any:
        keys = random.split(key, len(rates))
        return lax.scan(partial(step, data), carry, (keys, indices, rates, given))

    data, params = to_array(work.x, jnp.float32), encoder_params(work, form)
    carry = (params, adam.init(params))

    def train(chunk: Chunk) -> np.ndarray:
        nonlocal carry
        given = to_array(chunk.noise["a_aux"][:, 0], jnp.float32) if chunk.noise else None
        rates = to_array(chunk.rates, jnp.float32)
        carry, losses = run(data, carry, random.key(SEED), jnp.asarray(chunk.indices), rates, given)
        return np.asarray(losses, np.float64) / work.size.num_items

    return train
