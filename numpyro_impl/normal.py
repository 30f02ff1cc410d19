"""Multivariate normals that remember the base noise of their own sample.

A draw is `value = loc + A ε`. The density of that very draw needs no triangular solve: for a full
factor it is -½‖ε‖² - Σ log diag(L) - (K/2) log 2π. In single precision this is what keeps training
from diverging, because the solve amplifies the rounding of `value - loc` by the condition number of
L. For values drawn elsewhere the stock density (with its solve) is used.

NumPyro hands a sample's intermediates to `log_prob`; the base noise travels there.
"""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array, random
from jax.scipy.linalg import cho_solve


class _RemembersNoise:
    """Sampling from base noise, with the noise as the sample's intermediates."""

    def from_noise(self, noise: Array) -> Array:
        """The draw that belongs to `noise` (..., `noise_size`), differentiable in the parameters."""
        return self._push_forward(noise)  # type: ignore[attr-defined]

    def sample_with_intermediates(
        self, key: Array, sample_shape: tuple[int, ...] = ()
    ) -> tuple[Array, list[Array]]:
        shape = sample_shape + self.batch_shape + (self.noise_size,)  # type: ignore[attr-defined]
        noise = random.normal(key, shape, jnp.result_type(self.loc))  # type: ignore[attr-defined]
        return self.from_noise(noise), [noise]

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        return self.sample_with_intermediates(key, sample_shape)[0]


class MultivariateNormal(_RemembersNoise, dist.MultivariateNormal):
    """`dist.MultivariateNormal` whose `log_prob` of its own draw comes from the base noise.

    `loc` (..., K), `scale_tril` (..., K, K); noise (..., K).
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
        log_diagonal = jnp.log(jnp.diagonal(self.scale_tril, axis1=-2, axis2=-1)).sum(-1)
        return _log_density(jnp.square(noise).sum(-1), log_diagonal, self.noise_size)


class LowRankMultivariateNormal(_RemembersNoise, dist.LowRankMultivariateNormal):
    """`dist.LowRankMultivariateNormal` whose `log_prob` of its own draw comes from the base noise.

    `loc` (..., K), `cov_factor` (..., K, R), `cov_diag` (..., K); covariance
    `cov_factor @ cov_factorᵀ + diag(cov_diag)`; noise (..., K + R), the diagonal's first.

    With d = √cov_diag, V = cov_factor / d, M = [V; I] and e = [ε_K; -ε_R], the Mahalanobis distance
    of the draw is min over s of ‖e - M s‖²: the squared length of the noise projected off the range
    of M. It is a sum of squares bounded by ‖ε‖², so nothing cancels; s solves the R × R capacitance
    system (MᵀM) s = Mᵀ e, with the Cholesky factor the stock constructor already holds.
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
        (noise,) = intermediates
        diagonal, factor = jnp.split(noise, [self.event_shape[0]], axis=-1)
        scale = jnp.sqrt(self.cov_diag)
        v = self.cov_factor / scale[..., None]
        tril = self._capacitance_tril
        target = jnp.matmul(v.mT, diagonal[..., None]) - factor[..., None]
        batch = jnp.broadcast_shapes(tril.shape[:-2], target.shape[:-2])
        s = cho_solve((jnp.broadcast_to(tril, batch + tril.shape[-2:]), True), target)
        residual = diagonal - jnp.matmul(v, s)[..., 0]
        mahalanobis = jnp.square(residual).sum(-1) + jnp.square(factor + s[..., 0]).sum(-1)
        log_diagonal = jnp.log(scale).sum(-1) + jnp.log(jnp.diagonal(tril, axis1=-2, axis2=-1)).sum(
            -1
        )
        return _log_density(mahalanobis, log_diagonal, self.event_shape[0])


def _log_density(mahalanobis: Array, half_log_det: Array, size: int) -> Array:
    return -0.5 * mahalanobis - half_log_det - 0.5 * size * math.log(2 * math.pi)
