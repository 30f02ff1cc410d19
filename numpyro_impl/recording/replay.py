"""Latent values from outside, with the gradient that the program's own parameters would give them.

    with replay_draws({"z": values}, {"batch": indices}):
        Trace_ELBO().loss(key, params, model, guide, x)

A replayed value is bit for bit the one given. Its derivative is that of the reparameterised draw which
happens to equal it: of `path`, the same formula in both frameworks for each family. It is not the
frameworks' own estimator for gamma-like families, whose implicit gradients differ between them, nor
for the joint latent of an autoguide, whose numbers the frameworks pack in different orders.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array, random
from jax.lax import stop_gradient
from numpyro.distributions import biject_to
from numpyro.primitives import Messenger

from numpyro_impl.programs.noise import unwrapped
from numpyro_impl.recording.constraints import name_of
from numpyro_impl.recording.integers import with_own_integers
from twinplate.verification.matching.edges import BOUNDED, POSITIVE
from twinplate.verification.matching.sites import AUTOGUIDE_LATENT

LOCATION_SCALE = (
    dist.Normal,
    dist.Laplace,
    dist.Cauchy,
    dist.StudentT,
    dist.Gumbel,
    dist.Logistic,
    dist.SoftLaplace,
    dist.AsymmetricLaplace,
)
MULTIVARIATE = (dist.MultivariateNormal, dist.LowRankMultivariateNormal)
SCALE = (dist.HalfNormal, dist.HalfCauchy)
CONSTANT = (dist.LKJ, dist.LKJCholesky, dist.Wishart, dist.WishartCholesky)


class replay_draws(Messenger):  # noqa: N801  (handlers are lower case in NumPyro)
    """Give the sites named in `draws` and the subsampling plates named in `indices` their values.

    draws: one particle's values by site, of the site's full shape; another shape is left to the program.
    indices: by plate.
    Sites that already have a value (observed, replayed, enumerated) keep it; a Delta computes its own; one
    that cannot be sampled, as a flat prior, gets what samplers start from (`_initial`).
    Must enclose every other handler, so that it acts last.
    """

    def __init__(self, draws: dict[str, Array], indices: dict[str, Array]) -> None:
        super().__init__(None)
        self.draws = draws
        self.indices = indices

    def process_message(self, msg: dict[str, Any]) -> None:
        if msg["type"] == "control_flow":  # handlers do not reach inside; substitution does
            msg["args"] = with_own_integers(msg["args"])
            msg["kwargs"]["substitute_stack"].append(("substitute", self._step))
        elif msg.get("value") is not None:
            return
        elif msg["type"] == "plate":
            indices = self.indices.get(msg["name"])
            msg["value"] = (
                indices if indices is not None and len(indices) == msg["args"][1] else None
            )
        elif msg["type"] == "sample":
            msg["value"] = self._value(msg, self.draws.get(msg["name"]))

    def _step(self, site: dict[str, Any]) -> Array | None:
        """The value at one step of a `scan`, whose draws are stacked."""
        draws = self.draws.get(site["name"])
        if site["value"] is not None:
            return None
        if draws is None or not draws.ndim:
            return self._value(site, None)
        return self._value(site, draws[site["infer"]["_scan_current_index"]])

    def _value(self, msg: dict[str, Any], x: Array | None) -> Array | None:
        fn, shape = msg["fn"], msg["kwargs"].get("sample_shape", ()) + tuple(msg["fn"].shape())
        if isinstance(unwrapped(fn), dist.Delta):
            return None
        if x is None:
            key = msg["kwargs"].get("rng_key")
            return None if key is None or _can_sample(fn) else _initial(fn, key)
        if x.size != math.prod(shape):
            try:  # downstream of what is summed over, all cases share one value
                x = jnp.broadcast_to(x, shape)
            except ValueError:
                return None
        joint = AUTOGUIDE_LATENT.match(msg["name"]) is not None
        return replayed(fn, as_drawn(fn, x.reshape(shape)), joint)


def _can_sample(fn: Any) -> bool:
    try:
        jax.eval_shape(fn.sample, random.key(0))
    except NotImplementedError:
        return False
    except Exception:  # whatever else is wrong, the program itself will say
        return True
    return True


def _initial(fn: Any, key: Array) -> Array:
    """Random values of the support of `fn`, uniform on (-2, 2) in unconstrained space."""
    to_support = biject_to(fn.support)
    shape = to_support.inverse_shape(tuple(fn.shape()))
    return jnp.asarray(to_support(random.uniform(key, shape, minval=-2.0, maxval=2.0)))


def as_drawn(fn: Any, x: Array) -> Array:
    """Whole numbers in the type in which `fn` draws them; other values as they are."""
    return x.astype(drawn_dtype(fn, x)) if jnp.issubdtype(x.dtype, jnp.integer) else x


def drawn_dtype(fn: Any, x: Array) -> Any:
    """The type of values that `fn` draws, or of `x` where it cannot draw any."""
    try:
        return jax.eval_shape(fn.sample, random.key(0)).dtype
    except Exception:  # improper, or stacked by a `scan`
        return x.dtype


def replayed(fn: Any, x: Array, joint: bool = False) -> Array:
    """`x` exactly, with the derivative of `path(fn, x, joint)`; constant where there is none."""
    if not jnp.issubdtype(x.dtype, jnp.floating) or not fn.has_rsample or fn.is_discrete:
        return x
    try:
        moved = path(fn, stop_gradient(x), joint)
    except NotImplementedError:  # no mean, no variance or no inverse
        return x
    return _with_path(x, jnp.broadcast_to(moved, x.shape))


@jax.custom_jvp
def _with_path(x: Array, moved: Array) -> Array:
    return x


@_with_path.defjvp
def _with_path_jvp(primals: Any, tangents: Any) -> Any:
    x, moved = primals
    return x, jnp.where(jnp.isfinite(moved), tangents[1], 0).astype(x.dtype)


def path(fn: Any, x: Array, joint: bool = False) -> Array:
    """`x` as a differentiable function of the parameters of `fn`, at fixed randomness.

    joint: the derivative is the same in whatever order the dims of `x` are packed.
    Raises NotImplementedError for a family that has no such form.
    """
    fn = unwrapped(fn)
    if joint and isinstance(fn, MULTIVARIATE):
        return _joint(fn, x)
    if isinstance(fn, CONSTANT):
        return x
    for families, form in FORMS:
        if isinstance(fn, families):
            return form(fn, x)
    if isinstance(fn, dist.TransformedDistribution):
        return _transformed(fn, x)
    return _moments(fn, x)


def _moved(loc: Array, scale: Array, x: Array) -> Array:
    return loc + scale * stop_gradient((x - loc) / scale)


def _moments(fn: Any, x: Array) -> Array:
    """By mean and standard deviation, slowed towards the edge of the support, which it does not leave."""
    mean = fn.mean
    moved = _moved(mean, jnp.sqrt(fn.variance), x)
    return x + _speed(name_of(fn.support), x, stop_gradient(mean)) * (moved - stop_gradient(moved))


def _speed(support: str, x: Array, mean: Array) -> Array:
    """1 around the mean; beyond it the distance to the edge over that of the mean."""
    below, above = x / mean, (1 - x) / (1 - mean)
    if support in BOUNDED:
        return jnp.minimum(jnp.minimum(below, above), 1)
    return jnp.minimum(below, 1) if support in POSITIVE else jnp.ones_like(x)


def _simplex(fn: Any, x: Array) -> Array:
    """The path stays on the simplex: off it, frameworks extend densities of probabilities differently."""
    moved = _moments(fn, x)
    return moved / moved.sum(-1, keepdims=True)


def _multivariate(fn: Any, x: Array) -> Array:
    tril = getattr(fn, "scale_tril", None)
    tril = jnp.linalg.cholesky(fn.covariance_matrix) if tril is None else tril
    difference = (x - fn.loc)[..., None]
    batch = jnp.broadcast_shapes(tril.shape[:-2], difference.shape[:-2])
    tril = jnp.broadcast_to(tril, batch + tril.shape[-2:])
    difference = jnp.broadcast_to(difference, batch + difference.shape[-2:])
    noise = stop_gradient(jax.scipy.linalg.solve_triangular(tril, difference, lower=True))
    return fn.loc + jnp.matmul(tril, noise)[..., 0]


def _joint(fn: Any, x: Array) -> Array:
    """dx = dloc + ½ dΣ Σ⁻¹ (x - loc): this too gives x + dx the covariance Σ + dΣ."""
    difference, covariance = stop_gradient(x - fn.loc), fn.covariance_matrix
    solved = jnp.linalg.solve(stop_gradient(covariance), difference[..., None])
    return fn.loc + difference / 2 + jnp.matmul(covariance, solved)[..., 0] / 2


def _transformed(fn: Any, x: Array) -> Array:
    for transform in reversed(fn.transforms):
        x = stop_gradient(transform.inv(x))
    x = path(fn.base_dist, x)
    for transform in fn.transforms:
        x = transform(x)
    return x


FORMS: tuple[tuple[tuple[type, ...], Callable[[Any, Array], Array]], ...] = (
    (LOCATION_SCALE, lambda fn, x: _moved(fn.loc, fn.scale, x)),
    (MULTIVARIATE, _multivariate),
    ((dist.Dirichlet,), _simplex),
    (SCALE, lambda fn, x: fn.scale * stop_gradient(x / fn.scale)),
    ((dist.Exponential,), lambda fn, x: stop_gradient(x * fn.rate) / fn.rate),
    ((dist.Uniform,), lambda fn, x: _moved(fn.low, fn.high - fn.low, x)),
)
