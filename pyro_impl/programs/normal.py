"""Multivariate normals that remember the base noise of their own sample.

A draw is `value = loc + A ε`. The density of that very draw needs no triangular solve: for a full
factor it is -½‖ε‖² - Σ log diag(L) - (K/2) log 2π. In single precision this is what keeps training
from diverging, because the solve amplifies the rounding of `value - loc` by the condition number of
L. For values drawn elsewhere the stock density (with its solve) is used.

`score` is the gradient of the log density in the value at the own draw, -A⁻ᵀε for a full factor,
for estimators that leave the score of the parameters out.

The divergence of each from an independent normal is in closed form, which TraceMeanField_ELBO takes.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from pyro.distributions.util import broadcast_shape
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.kl import register_kl

from pyro_impl.programs.filling import fill_tril
from pyro_impl.programs.triangle import packed_product
from pyro_impl.torch_private import standard_normal, version
from twinplate.programs.triangle import check_packed


class _RemembersNoise(torch.distributions.Distribution):
    """Keeps the last draw with its noise."""

    loc: Tensor
    _draw: tuple[Tensor, tuple[int, ...], Tensor] | None = None

    def from_noise(self, noise: Tensor) -> Tensor:
        """The draw that belongs to `noise` (..., `noise_size`), differentiable in the parameters."""
        value = self._push_forward(noise)
        self._draw = value, self._versions(value), noise
        return value

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = torch.Size(sample_shape) + self.batch_shape + (self.noise_size,)
        return self.from_noise(standard_normal(shape, self.loc.dtype, self.loc.device))

    def noise_of(self, value: Tensor) -> Tensor | None:
        """The noise of the last draw, if `value` is that draw and nothing has changed since."""
        if not self._draw or value is not self._draw[0] or self._versions(value) != self._draw[1]:
            return None
        # A draw made without gradients is a constant; its density is not that of the noise's path.
        scored = any(p.requires_grad for p in self._arguments)
        if torch.is_grad_enabled() and scored and not value.requires_grad:
            return None
        return self._draw[2]

    def _versions(self, value: Tensor) -> tuple[int, ...]:
        # Counters that notice a draw or a parameter changed in place; inference tensors have none.
        tensors = (value, *self._arguments)
        return tuple(0 if t.is_inference() else version(t) for t in tensors)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        # Pyro's plates always expand; a distribution that remembers must stay itself.
        if torch.Size(batch_shape) == self.batch_shape:
            return self
        return super().expand(batch_shape, _instance)

    @property
    @abstractmethod
    def noise_size(self) -> int:
        """Numbers of noise per draw."""

    @property
    @abstractmethod
    def _arguments(self) -> tuple[Tensor, ...]:
        """The tensors that the draw depends on."""

    @abstractmethod
    def _push_forward(self, noise: Tensor) -> Tensor:
        """`noise` (..., `noise_size`) to the draw (..., K)."""


class MultivariateNormal(_RemembersNoise, dist.MultivariateNormal):
    """`dist.MultivariateNormal` whose `log_prob` of its own draw comes from the base noise.

    `loc` (..., K), `scale_tril` (..., K, K); noise (..., K).

    >>> q = MultivariateNormal(torch.zeros(5, 3), scale_tril=torch.eye(3))
    >>> a = q.rsample()
    >>> tuple(a.shape), tuple(q.log_prob(a).shape)
    ((5, 3), (5,))
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
        noise = self.noise_of(value)
        if noise is None:
            return super().log_prob(value)
        return _log_density(noise.square().sum(-1), self._half_log_det(), self.noise_size)

    def score(self, noise: Tensor) -> Tensor:
        """-L⁻ᵀ ε (..., K), for the draw that belongs to `noise`."""
        upper = self._unbroadcasted_scale_tril.mT
        return -torch.linalg.solve_triangular(upper, noise.unsqueeze(-1), upper=True).squeeze(-1)

    def _half_log_det(self) -> Tensor:
        return self._unbroadcasted_scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)


class PackedMultivariateNormal(MultivariateNormal):
    """A `MultivariateNormal` from the numbers of its triangular factor, which a draw does not build.

    `loc` (..., K); `scale` (..., K) > 0, the diagonal of L; `lower` (..., K (K - 1) / 2), L below the
    diagonal row by row, or (..., 0) for a diagonal covariance; noise (..., K).

    A draw is `loc + scale ε + (lower · (ε C)) R`, with C and R the constant 0/1 matrices that copy
    noise to its columns and add up rows; in a captured graph on a CPU it is multiplied row by row. The
    matrices' cost grows like K³, so that above `PACKED_LIMIT` components the triangle is filled after
    all. Densities of values drawn elsewhere, `scale_tril` and `covariance_matrix` fill it on demand.

    >>> q = PackedMultivariateNormal(torch.zeros(2), torch.tensor([1.0, 2.0]), torch.tensor([0.5]))
    >>> q.scale_tril.tolist()
    [[1.0, 0.0], [0.5, 2.0]]
    """

    arg_constraints: ClassVar = {  # type: ignore[misc]  # torch does not say that it is one
        "loc": constraints.real_vector,
        "scale": constraints.independent(constraints.positive, 1),
        "lower": constraints.real_vector,
    }

    def __init__(
        self, loc: Tensor, scale: Tensor, lower: Tensor, *, validate_args: bool | None = None
    ) -> None:
        check_packed(tuple(loc.shape), tuple(scale.shape), tuple(lower.shape))
        # Not by torch.broadcast_shapes, which imports torch's compiler at its first call, and is slow.
        batch_shape = torch.Size(
            broadcast_shape(loc.shape[:-1], scale.shape[:-1], lower.shape[:-1])
        )
        self.loc, self.scale, self.lower = loc.expand((*batch_shape, -1)), scale, lower
        torch.distributions.Distribution.__init__(
            self, batch_shape, scale.shape[-1:], validate_args=validate_args
        )

    @property
    def _unbroadcasted_scale_tril(self) -> Tensor:  # type: ignore[override]  # torch's is stored
        return fill_tril(self.scale, self.lower)

    @property
    def _arguments(self) -> tuple[Tensor, ...]:
        return self.loc, self.scale, self.lower

    @property
    def variance(self) -> Tensor:
        rows = packed_product(self.lower.square(), torch.ones_like(self.scale))
        return (self.scale.square() + rows).expand(self.batch_shape + self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        noise = self.noise_of(value)
        if noise is None:
            noise = self._noise_to(value)
        return _log_density(noise.square().sum(-1), self._half_log_det(), self.noise_size)

    def entropy(self) -> Tensor:
        entropy = self._half_log_det() + 0.5 * self.noise_size * (1 + math.log(2 * math.pi))
        return entropy.expand(self.batch_shape)

    def score(self, noise: Tensor) -> Tensor:
        return super().score(noise) if self.lower.shape[-1] else -noise / self.scale

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        if torch.Size(batch_shape) == self.batch_shape:
            return self
        new = self._get_checked_instance(PackedMultivariateNormal, _instance)
        batch_shape = torch.Size(batch_shape)
        new.loc = self.loc.expand(batch_shape + self.event_shape)
        new.scale, new.lower = self.scale, self.lower
        torch.distributions.Distribution.__init__(
            new, batch_shape, self.event_shape, validate_args=False
        )
        new._validate_args = self._validate_args
        return new

    def _noise_to(self, value: Tensor) -> Tensor:
        """L⁻¹ (value - loc)."""
        difference = value - self.loc
        if not self.lower.shape[-1]:
            return difference / self.scale
        tril = self._unbroadcasted_scale_tril
        return torch.linalg.solve_triangular(tril, difference.unsqueeze(-1), upper=False).squeeze(
            -1
        )

    def _push_forward(self, noise: Tensor) -> Tensor:
        return self.loc + self.scale * noise + packed_product(self.lower, noise)

    def _half_log_det(self) -> Tensor:
        return self.scale.log().sum(-1)


class LowRankMultivariateNormal(_RemembersNoise, dist.LowRankMultivariateNormal):
    """`dist.LowRankMultivariateNormal` whose `log_prob` of its own draw comes from the base noise.

    `loc` (..., K), `cov_factor` (..., K, R), `cov_diag` (..., K); covariance
    `cov_factor @ cov_factorᵀ + diag(cov_diag)`; noise (..., K + R), the diagonal's first.

    With d = √cov_diag, V = cov_factor / d, M = [V; I] and e = [ε_K; -ε_R], the Mahalanobis distance
    of the draw is min over s of ‖e - M s‖²: the squared length of the noise projected off the range
    of M. It is a sum of squares bounded by ‖ε‖², so nothing cancels; s solves the R × R capacitance
    system (MᵀM) s = Mᵀ e, with the Cholesky factor the stock constructor already holds.

    >>> q = LowRankMultivariateNormal(torch.zeros(2), torch.tensor([[1.0], [2.0]]), torch.ones(2))
    >>> q.covariance_matrix.tolist(), q.noise_size
    ([[2.0, 2.0], [2.0, 5.0]], 3)
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
        noise = self.noise_of(value)
        if noise is None:
            return super().log_prob(value)
        residual, factor = self._projected(noise)
        mahalanobis = residual.square().sum(-1) + factor.square().sum(-1)
        capacitance = self._capacitance_tril.diagonal(dim1=-2, dim2=-1)
        half_log_det = 0.5 * self._unbroadcasted_cov_diag.log().sum(-1) + capacitance.log().sum(-1)
        return _log_density(mahalanobis, half_log_det, self.event_shape[0])

    def score(self, noise: Tensor) -> Tensor:
        """-Σ⁻¹ (value - loc) (..., K), for the draw that belongs to `noise`: minus ε_K - V s over d."""
        return -self._projected(noise)[0] / self._unbroadcasted_cov_diag.sqrt()

    def _projected(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """e - M s: its first K numbers, and minus the other R."""
        diagonal, factor = noise.split(self._sizes, -1)
        v = self._unbroadcasted_cov_factor / self._unbroadcasted_cov_diag.sqrt().unsqueeze(-1)
        target = (v.mT @ diagonal.unsqueeze(-1)).squeeze(-1) - factor
        s = torch.cholesky_solve(target.unsqueeze(-1), self._capacitance_tril)
        return diagonal - (v @ s).squeeze(-1), factor + s.squeeze(-1)


@register_kl(_RemembersNoise, torch.distributions.Independent)  # type: ignore[untyped-decorator]
def _kl_to_normal(q: _RemembersNoise, p: torch.distributions.Independent[Any]) -> Tensor:
    """KL(q ‖ p): minus the entropy of q, minus E_q log p. p is normal, independent in its components."""
    if not isinstance(p.base_dist, torch.distributions.Normal) or p.reinterpreted_batch_ndims != 1:
        raise NotImplementedError  # which tells TraceMeanField_ELBO to sample the term
    square = ((q.mean - p.mean).square() + q.variance) / p.variance
    cross = 0.5 * (square + (2 * math.pi * p.variance).log()).sum(-1)
    return cross - q.entropy()


def _log_density(mahalanobis: Tensor, half_log_det: Tensor, size: int) -> Tensor:
    return -0.5 * mahalanobis - half_log_det - 0.5 * size * math.log(2 * math.pi)
