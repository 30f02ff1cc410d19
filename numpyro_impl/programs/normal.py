"""Multivariate normals that remember the base noise of their own sample.

A draw is `value = loc + A ε`. The density of that very draw needs no triangular solve: for a full
factor it is -½‖ε‖² - Σ log diag(L) - (K/2) log 2π. In single precision this is what keeps training
from diverging, because the solve amplifies the rounding of `value - loc` by the condition number of
L. For values drawn elsewhere the stock density (with its solve) is used.

`score` is the gradient of the log density in the value at the own draw, -A⁻ᵀε for a full factor,
for estimators that leave the score of the parameters out.

The divergence of each from an independent normal is in closed form, which TraceMeanField_ELBO takes.

NumPyro hands a sample's intermediates to `log_prob`; the base noise travels there.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array, lax, random
from jax.scipy.linalg import cho_solve, solve_triangular
from numpyro.distributions import constraints
from numpyro.distributions.kl import kl_divergence
from numpyro.distributions.util import lazy_property

from numpyro_impl.programs.filling import fill_tril
from numpyro_impl.programs.triangle import packed_product
from twinplate.programs.triangle import check_packed


class _RemembersNoise(dist.Distribution):
    """Sampling from base noise, with the noise as the sample's intermediates."""

    def from_noise(self, noise: Array) -> Array:
        """The draw that belongs to `noise` (..., `noise_size`), differentiable in the parameters."""
        return self._push_forward(noise)

    def sample_with_intermediates(
        self, key: Array, sample_shape: tuple[int, ...] = ()
    ) -> tuple[Array, list[Array]]:
        shape = sample_shape + self.batch_shape + (self.noise_size,)
        noise = random.normal(key, shape, jnp.result_type(self.loc))
        return self.from_noise(noise), [noise]

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        return self.sample_with_intermediates(key, sample_shape)[0]

    def mask(self, mask: Array | bool) -> dist.MaskedDistribution:
        return _Masked(self, mask)


class _Masked(dist.MaskedDistribution):
    """Hands the noise on, which NumPyro's own does not."""

    def sample_with_intermediates(
        self, key: Array, sample_shape: tuple[int, ...] = ()
    ) -> tuple[Array, list[Array]]:
        return self.base_dist.sample_with_intermediates(key, sample_shape)

    def log_prob(self, value: Array, intermediates: list[Any] | None = None) -> Array:
        if not intermediates:
            return super().log_prob(value)
        return jnp.where(self._mask, self.base_dist.log_prob(value, intermediates), 0.0)


class MultivariateNormal(_RemembersNoise, dist.MultivariateNormal):
    """`dist.MultivariateNormal` whose `log_prob` of its own draw comes from the base noise.

    `loc` (..., K), `scale_tril` (..., K, K); noise (..., K).

    >>> q = MultivariateNormal(jnp.zeros((5, 3)), scale_tril=jnp.eye(3))
    >>> a, noise = q.sample_with_intermediates(random.key(0))
    >>> a.shape, q.log_prob(a, noise).shape
    ((5, 3), (5,))
    """

    @property
    def noise_size(self) -> int:
        """Numbers of noise per draw: K."""
        return self.event_shape[0]

    def _push_forward(self, noise: Array) -> Array:
        return self.loc + jnp.matmul(self.scale_tril, noise[..., None])[..., 0]

    def log_prob(self, value: Array, intermediates: list[Any] | None = None) -> Array:
        if not intermediates:
            return super().log_prob(value)
        (noise,) = intermediates
        return _log_density(jnp.square(noise).sum(-1), self._half_log_det(), self.noise_size)

    def score(self, noise: Array) -> Array:
        """-L⁻ᵀ ε (..., K), for the draw that belongs to `noise`."""
        return -_solve(self.scale_tril, noise, transposed=True)

    def _half_log_det(self) -> Array:
        return jnp.log(jnp.diagonal(self.scale_tril, axis1=-2, axis2=-1)).sum(-1)


class PackedMultivariateNormal(MultivariateNormal):
    """A `MultivariateNormal` from the numbers of its triangular factor, which a draw does not build.

    `loc` (..., K); `scale` (..., K) > 0, the diagonal of L; `lower` (..., K (K - 1) / 2), L below the
    diagonal row by row, or (..., 0) for a diagonal covariance; noise (..., K).

    A draw is `loc + scale ε + (lower · (ε C)) R`, with C and R the constant 0/1 matrices that copy
    noise to its columns and add up rows. Their cost grows like K³, so that above `PACKED_LIMIT`
    components the triangle is filled after all. Densities of values drawn elsewhere, `scale_tril` and
    `covariance_matrix` fill it on demand.

    >>> q = PackedMultivariateNormal(jnp.zeros(2), jnp.array([1.0, 2.0]), jnp.array([0.5]))
    >>> q.scale_tril.tolist()
    [[1.0, 0.0], [0.5, 2.0]]
    """

    arg_constraints: ClassVar = {
        "loc": constraints.real_vector,
        "scale": constraints.independent(constraints.positive, 1),
        "lower": constraints.real_vector,
    }
    reparametrized_params: ClassVar = ["loc", "scale", "lower"]

    def __init__(
        self, loc: Array, scale: Array, lower: Array, *, validate_args: bool | None = None
    ) -> None:
        check_packed(jnp.shape(loc), jnp.shape(scale), jnp.shape(lower))
        self.loc, self.scale, self.lower = loc, scale, lower
        batch_shape = lax.broadcast_shapes(loc.shape[:-1], scale.shape[:-1], lower.shape[:-1])
        dist.Distribution.__init__(self, batch_shape, scale.shape[-1:], validate_args=validate_args)

    @lazy_property
    def scale_tril(self) -> Array:
        """L (..., K, K), filled when first asked for."""
        return fill_tril(self.scale, self.lower)

    @property
    def variance(self) -> Array:
        rows = packed_product(jnp.square(self.lower), jnp.ones_like(self.scale))
        return jnp.broadcast_to(jnp.square(self.scale) + rows, self.shape())

    def log_prob(self, value: Array, intermediates: list[Any] | None = None) -> Array:
        (noise,) = intermediates or (self._noise_to(value),)
        return _log_density(jnp.square(noise).sum(-1), self._half_log_det(), self.noise_size)

    def entropy(self) -> Array:
        entropy = self._half_log_det() + 0.5 * self.noise_size * (1 + math.log(2 * math.pi))
        return jnp.broadcast_to(entropy, self.batch_shape)

    def score(self, noise: Array) -> Array:
        return super().score(noise) if self.lower.shape[-1] else -noise / self.scale

    def _noise_to(self, value: Array) -> Array:
        """L⁻¹ (value - loc)."""
        difference = value - self.loc
        if not self.lower.shape[-1]:
            return difference / self.scale
        return _solve(self.scale_tril, difference)

    def _push_forward(self, noise: Array) -> Array:
        return self.loc + self.scale * noise + packed_product(self.lower, noise)

    def _half_log_det(self) -> Array:
        return jnp.log(self.scale).sum(-1)


class LowRankMultivariateNormal(_RemembersNoise, dist.LowRankMultivariateNormal):
    """`dist.LowRankMultivariateNormal` whose `log_prob` of its own draw comes from the base noise.

    `loc` (..., K), `cov_factor` (..., K, R), `cov_diag` (..., K); covariance
    `cov_factor @ cov_factorᵀ + diag(cov_diag)`; noise (..., K + R), the diagonal's first.

    With d = √cov_diag, V = cov_factor / d, M = [V; I] and e = [ε_K; -ε_R], the Mahalanobis distance
    of the draw is min over s of ‖e - M s‖²: the squared length of the noise projected off the range
    of M. It is a sum of squares bounded by ‖ε‖², so nothing cancels; s solves the R × R capacitance
    system (MᵀM) s = Mᵀ e, with the Cholesky factor the stock constructor already holds.

    >>> q = LowRankMultivariateNormal(jnp.zeros(2), jnp.array([[1.0], [2.0]]), jnp.ones(2))
    >>> q.covariance_matrix.tolist(), q.noise_size
    ([[2.0, 2.0], [2.0, 5.0]], 3)
    """

    @property
    def noise_size(self) -> int:
        """Numbers of noise per draw: K + R."""
        return self.event_shape[0] + self.cov_factor.shape[-1]

    def _push_forward(self, noise: Array) -> Array:
        diagonal, factor = jnp.split(noise, [self.event_shape[0]], axis=-1)
        spread = jnp.matmul(self.cov_factor, factor[..., None])[..., 0]
        return self.loc + jnp.sqrt(self.cov_diag) * diagonal + spread

    def log_prob(self, value: Array, intermediates: list[Any] | None = None) -> Array:
        if not intermediates:
            return super().log_prob(value)
        residual, factor = self._projected(*intermediates)
        mahalanobis = jnp.square(residual).sum(-1) + jnp.square(factor).sum(-1)
        capacitance = jnp.diagonal(self._capacitance_tril, axis1=-2, axis2=-1)
        half_log_det = 0.5 * jnp.log(self.cov_diag).sum(-1) + jnp.log(capacitance).sum(-1)
        return _log_density(mahalanobis, half_log_det, self.event_shape[0])

    def score(self, noise: Array) -> Array:
        """-Σ⁻¹ (value - loc) (..., K), for the draw that belongs to `noise`: minus ε_K - V s over d."""
        return -self._projected(noise)[0] / jnp.sqrt(self.cov_diag)

    def _projected(self, noise: Array) -> tuple[Array, Array]:
        """e - M s: its first K numbers, and minus the other R."""
        diagonal, factor = jnp.split(noise, [self.event_shape[0]], axis=-1)
        v = self.cov_factor / jnp.sqrt(self.cov_diag)[..., None]
        target = jnp.matmul(v.mT, diagonal[..., None]) - factor[..., None]
        tril = self._capacitance_tril
        batch = jnp.broadcast_shapes(tril.shape[:-2], target.shape[:-2])
        s = cho_solve((jnp.broadcast_to(tril, batch + tril.shape[-2:]), True), target)
        return diagonal - jnp.matmul(v, s)[..., 0], factor + s[..., 0]


@kl_divergence.register(_RemembersNoise, dist.Independent)
def _kl_to_normal(q: _RemembersNoise, p: dist.Independent) -> Array:
    """KL(q ‖ p): minus the entropy of q, minus E_q log p. p is normal, independent in its components."""
    base = p.base_dist
    base = base.base_dist if isinstance(base, dist.ExpandedDistribution) else base
    if not isinstance(base, dist.Normal) or p.reinterpreted_batch_ndims != 1:
        raise NotImplementedError  # which tells TraceMeanField_ELBO to sample the term
    square = (jnp.square(q.mean - p.mean) + q.variance) / p.variance
    cross = 0.5 * (square + jnp.log(2 * math.pi * p.variance)).sum(-1)
    return cross - q.entropy()


def _solve(tril: Array, vector: Array, transposed: bool = False) -> Array:
    """L⁻¹ v, or L⁻ᵀ v, with broadcast batch dims."""
    batch = jnp.broadcast_shapes(tril.shape[:-2], vector.shape[:-1])
    tril = jnp.broadcast_to(tril, batch + tril.shape[-2:])
    vector = jnp.broadcast_to(vector, batch + vector.shape[-1:])
    return solve_triangular(tril, vector[..., None], trans=int(transposed), lower=True)[..., 0]


def _log_density(mahalanobis: Array, half_log_det: Array, size: int) -> Array:
    return -0.5 * mahalanobis - half_log_det - 0.5 * size * math.log(2 * math.pi)
