"""Multivariate normals that remember the base noise of their own sample.

A draw is `value = loc + A ε`. The density of that very draw needs no triangular solve: for a full
factor it is -½‖ε‖² - Σ log diag(L) - (K/2) log 2π. In single precision this is what keeps training
from diverging, because the solve amplifies the rounding of `value - loc` by the condition number of
L. For values drawn elsewhere the stock density (with its solve) is used.
"""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions.utils import _standard_normal


class _RemembersNoise:
    """Keeps the last draw with its noise; `_noise_of(value)` is that noise if `value` is that draw."""

    _draw: tuple[Tensor, tuple[int, ...], Tensor] | None = None

    def from_noise(self, noise: Tensor) -> Tensor:
        """The draw that belongs to `noise` (..., `noise_size`), differentiable in the parameters."""
        value = self._push_forward(noise)  # type: ignore[attr-defined]
        self._draw = value, self._versions(value), noise
        return value

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = torch.Size(sample_shape) + self.batch_shape + (self.noise_size,)  # type: ignore[attr-defined]
        loc = self.loc  # type: ignore[attr-defined]
        return self.from_noise(_standard_normal(shape, loc.dtype, loc.device))

    def _noise_of(self, value: Tensor) -> Tensor | None:
        if not self._draw or value is not self._draw[0] or self._versions(value) != self._draw[1]:
            return None
        # A draw made without gradients is a constant; its density is not that of the noise's path.
        scored = any(p.requires_grad for p in self._arguments)  # type: ignore[attr-defined]
        if torch.is_grad_enabled() and scored and not value.requires_grad:
            return None
        return self._draw[2]

    def _versions(self, value: Tensor) -> tuple[int, ...]:
        # Counters that notice a draw or a parameter changed in place; inference tensors have none.
        tensors = (value, *self._arguments)  # type: ignore[attr-defined]
        return tuple(0 if t.is_inference() else t._version for t in tensors)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        # Pyro's plates always expand; a distribution that remembers must stay itself.
        if torch.Size(batch_shape) == self.batch_shape:  # type: ignore[attr-defined]
            return self
        return super().expand(batch_shape, _instance)  # type: ignore[misc]


class MultivariateNormal(_RemembersNoise, dist.MultivariateNormal):
    """`dist.MultivariateNormal` whose `log_prob` of its own draw comes from the base noise.

    `loc` (..., K), `scale_tril` (..., K, K); noise (..., K).
    """

    @property
    def noise_size(self) -> int:
        """Numbers of noise per draw: K."""
        return self.event_shape[0]

    @property
    def _arguments(self) -> tuple[Tensor, ...]:
        return self.loc, self._unbroadcasted_scale_tril

    def _push_forward(self, noise: Tensor) -> Tensor:
        return self.loc + (self._unbroadcasted_scale_tril @ noise.unsqueeze(-1)).squeeze(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        noise = self._noise_of(value)
        if noise is None:
            return super().log_prob(value)
        log_diagonal = self._unbroadcasted_scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return _log_density(noise.square().sum(-1), log_diagonal, self.noise_size)


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
        return self.event_shape[0] + self._unbroadcasted_cov_factor.shape[-1]

    @property
    def _arguments(self) -> tuple[Tensor, ...]:
        return self.loc, self._unbroadcasted_cov_factor, self._unbroadcasted_cov_diag

    def _push_forward(self, noise: Tensor) -> Tensor:
        diagonal, factor = noise.split(self._sizes, -1)
        spread = (self._unbroadcasted_cov_factor @ factor.unsqueeze(-1)).squeeze(-1)
        return self.loc + self._unbroadcasted_cov_diag.sqrt() * diagonal + spread

    @property
    def _sizes(self) -> list[int]:
        return list(self._unbroadcasted_cov_factor.shape[-2:])

    def log_prob(self, value: Tensor) -> Tensor:
        noise = self._noise_of(value)
        if noise is None:
            return super().log_prob(value)
        diagonal, factor = noise.split(self._sizes, -1)
        scale = self._unbroadcasted_cov_diag.sqrt()
        v = self._unbroadcasted_cov_factor / scale.unsqueeze(-1)
        tril = self._capacitance_tril
        target = (v.mT @ diagonal.unsqueeze(-1)).squeeze(-1) - factor
        s = torch.cholesky_solve(target.unsqueeze(-1), tril)
        residual = diagonal - (v @ s).squeeze(-1)
        mahalanobis = residual.square().sum(-1) + (factor + s.squeeze(-1)).square().sum(-1)
        log_diagonal = scale.log().sum(-1) + tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return _log_density(mahalanobis, log_diagonal, self.event_shape[0])


def _log_density(mahalanobis: Tensor, half_log_det: Tensor, size: int) -> Tensor:
    return -0.5 * mahalanobis - half_log_det - 0.5 * size * math.log(2 * math.pi)
