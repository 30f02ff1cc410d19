"""The two models: components in a plate, or as one dependent event dimension."""

from __future__ import annotations

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax import Array

from numpyro_impl.programs.likelihoods import entries
from twinplate.programs.shapes import check_items, check_num_items, check_observed, check_plated


def component_model(
    x: Array,
    a: Array | None = None,
    *,
    loadings: Array,
    intercept: Array,
    noise_scale: Array | float = 1.0,
    loc: Array | float = 0.0,
    scale: Array | float = 1.0,
    amplitude_scale: float | None = None,
    num_items: int | None = None,
    complete: bool = False,
    likelihood: str = "normal",
    concentration: Array | None = None,
    offsets: Array | None = None,
) -> Array:
    """`a` in the plate `components` (dim=-2) inside `mini_batch` (dim=-1); returns `a` (K, B).

    x: the mini-batch (B, D), NaN where missing.  a: observed values (K, B), if any.
    loadings (D, K), intercept (D,), noise_scale (D,); loc and scale broadcast to (K, B).
    amplitude_scale: standard deviation of log amplitude, a latent (B,) that multiplies loadings @ a.
    num_items: N ≥ B; the log densities are scaled by N / B.
    complete: a promise that no entry is NaN; then nothing is spent on masks.
    likelihood: one of `twinplate.programs.likelihood`, of which noise_scale is the normal's alone, and
        concentration (D,) the negative binomial's.  offsets: (B,), of counts.

    Raises InputError for shapes that do not fit.

    >>> parameters = {"loadings": jnp.ones((4, 3)), "intercept": jnp.zeros(4), "noise_scale": jnp.ones(4)}
    >>> a = numpyro.handlers.seed(component_model, 0)(jnp.zeros((5, 4)), **parameters)
    >>> tuple(a.shape)
    (3, 5)
    """
    loc, scale = jnp.asarray(loc, x.dtype), jnp.asarray(scale, x.dtype)
    _check(x, a, loc, scale, loadings)
    with mini_batch(x, num_items):
        amplitude = sample_amplitude(x, amplitude_scale)
        with numpyro.plate("components", loadings.shape[1], dim=-2):
            a = numpyro.sample("a", dist.Normal(loc, scale), obs=a)
        predictor = linear_predictor(items_first(a), amplitude, loadings, intercept, offsets)
        sample_x(x, entries(likelihood, predictor, noise_scale, concentration), complete)
    return a


def event_model(
    x: Array,
    a: Array | None = None,
    *,
    loadings: Array,
    intercept: Array,
    noise_scale: Array | float = 1.0,
    loc: Array | float = 0.0,
    scale: Array | float = 1.0,
    amplitude_scale: float | None = None,
    num_items: int | None = None,
    complete: bool = False,
    likelihood: str = "normal",
    concentration: Array | None = None,
    offsets: Array | None = None,
) -> Array:
    """The same with `.to_event(1)` instead of the plate: the site `a` is (B, K); returns `a` (K, B).

    Arguments and errors as in `component_model`, an observed `a` (K, B) included.

    >>> parameters = {"loadings": jnp.ones((4, 3)), "intercept": jnp.zeros(4), "noise_scale": jnp.ones(4)}
    >>> seeded = numpyro.handlers.seed(event_model, 0)
    >>> trace = numpyro.handlers.trace(seeded).get_trace(jnp.zeros((5, 4)), **parameters)
    >>> tuple(trace["a"]["value"].shape)
    (5, 3)
    """
    loc, scale = jnp.asarray(loc, x.dtype), jnp.asarray(scale, x.dtype)
    _check(x, a, loc, scale, loadings)
    plated = (loadings.shape[1], x.shape[0])
    with mini_batch(x, num_items):
        amplitude = sample_amplitude(x, amplitude_scale)
        prior = dist.Normal(jnp.broadcast_to(loc, plated).mT, jnp.broadcast_to(scale, plated).mT)
        prior = prior.to_event(1)
        a = numpyro.sample("a", prior, obs=None if a is None else a.mT)
        predictor = linear_predictor(a, amplitude, loadings, intercept, offsets)
        sample_x(x, entries(likelihood, predictor, noise_scale, concentration), complete)
    return a.mT


def mini_batch(x: Array, num_items: int | None) -> numpyro.plate:
    """The plate over the items of `x` (B, D); the caller chose them, the plate knows their share of N."""
    size = check_num_items(num_items, x.shape[0])
    return numpyro.plate("mini_batch", size, subsample_size=x.shape[0], dim=-1)


def sample_amplitude(x: Array, amplitude_scale: float | None) -> Array | None:
    """The other latent of the mini-batch, (B,); None when the model has none."""
    if amplitude_scale is None:
        return None
    return numpyro.sample(
        "amplitude", dist.LogNormal(jnp.zeros((), x.dtype), jnp.asarray(amplitude_scale, x.dtype))
    )


def linear_predictor(
    a: Array,
    amplitude: Array | None,
    loadings: Array,
    intercept: Array,
    offsets: Array | None,
) -> Array:
    """η (..., B, D) of the latents `a` (..., B, K), items first; the logarithm of an offset is part of it."""
    mean = a @ loadings.mT
    if amplitude is not None:
        mean = amplitude[..., None] * mean
    predictor = mean + intercept
    return predictor if offsets is None else predictor + jnp.log(offsets)[:, None]


def sample_x(x: Array, likelihood: dist.Distribution, complete: bool) -> None:
    """The likelihood of the observed entries."""
    if complete:
        numpyro.sample("x", likelihood.to_event(1), obs=x)
        return
    observed = ~jnp.isnan(x)
    # A masked NaN would still turn the gradients into NaN, so it is replaced before it enters.
    values = jnp.where(observed, x, 0.0)
    numpyro.sample("x", likelihood.mask(observed).to_event(1), obs=values)


def items_first(a: Array) -> Array:
    """(K, B) to (B, K). To the left of the plates, (P, K, B) to (P, 1, B, K).

    The components leave the batch shape and their dim=-2 stays behind as 1, so that the plates to
    the left (particles) keep their place.

    >>> import jax.numpy as jnp
    >>> tuple(items_first(jnp.zeros((5, 3, 4))).shape)
    (5, 1, 4, 3)
    """
    return a.mT if a.ndim == 2 else a.mT[..., None, :, :]


def _check(x: Array, a: Array | None, loc: Array, scale: Array, loadings: Array) -> None:
    num_features, num_components = loadings.shape
    batch_size = check_items(x.shape, num_features)
    check_plated("loc", loc.shape, num_components, batch_size)
    check_plated("scale", scale.shape, num_components, batch_size)
    if a is not None:
        check_observed(a.shape, num_components, batch_size)


MODELS = {"component": component_model, "event": event_model}
