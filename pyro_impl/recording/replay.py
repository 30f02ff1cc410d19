"""Latent values from outside, with the gradient that the program's own parameters would give them.

    with replay_draws({"z": values}, {"batch": indices}):
        Trace_ELBO().differentiable_loss(model, guide, x)

A replayed value is bit for bit the one given. Its derivative is that of the reparameterised draw which
happens to equal it: of `path`, the same formula in both frameworks for each family. It is not the
frameworks' own estimator for gamma-like families, whose implicit gradients differ between them, nor
for the joint latent of an autoguide, whose numbers the frameworks pack in different orders.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch import distributions as td
from torch.distributions import biject_to
from torch.distributions.relaxed_bernoulli import LogitRelaxedBernoulli

from pyro_impl.programs.noise import unwrapped
from pyro_impl.recording.constraints import name_of
from twinplate.verification.matching.edges import BOUNDED, POSITIVE
from twinplate.verification.matching.sites import AUTOGUIDE_LATENT

# Of torch where it has them: Pyro's are subclasses, and torch builds others from its own.
LOCATION_SCALE = (
    td.Normal,
    td.Laplace,
    td.Cauchy,
    td.StudentT,
    td.Gumbel,
    dist.Logistic,
    dist.SoftLaplace,
    dist.AsymmetricLaplace,
)
MULTIVARIATE = (td.MultivariateNormal, td.LowRankMultivariateNormal)
SCALE = (td.HalfNormal, td.HalfCauchy)
CONSTANT = (dist.LKJ, td.LKJCholesky, td.Wishart)
MOMENTS = (td.Kumaraswamy, td.Weibull)  # transformed distributions in this framework only


class replay_draws(Messenger):  # noqa: N801  (handlers are lower case in Pyro)
    """Give the sites named in `draws` and the subsampling plates named in `indices` their values.

    draws: one particle's values by site, of the site's full shape; another shape is left to the program.
        With `nesting`, the number of dims that plates take: (P, …) for P particles in one plate.
    indices: by plate.
    Sites that already have a value (observed, replayed, enumerated) keep it; a Delta computes its own; one
    that cannot be sampled, as a flat prior, gets what samplers start from (`_initial`).
    Must enclose every other handler, so that it acts last.
    own_indices: of the plates met so far, those that the program gives itself (`subsample=`); else None.
    """

    def __init__(
        self,
        draws: dict[str, Tensor],
        indices: dict[str, Tensor],
        nesting: int | None = None,
    ) -> None:
        super().__init__()
        self.draws = draws
        self.indices = indices
        self.nesting = nesting
        self.own_indices: dict[str, Any] = {}

    def _pyro_sample(self, msg: Any) -> None:
        if type(msg["fn"]).__name__ == "_Subsample":  # a model's may be replayed from its guide's
            self.own_indices.setdefault(msg["name"], msg["value"])
        if msg["value"] is not None or msg["done"]:
            return
        if type(msg["fn"]).__name__ == "_Subsample":
            msg["value"] = self._subsample(msg)
        else:
            msg["value"] = self._value(msg, self.draws.get(msg["name"]))

    def _subsample(self, msg: Any) -> Tensor | None:
        fn, indices = msg["fn"], self.indices.get(msg["name"])
        fits = indices is not None and len(indices) == (fn.subsample_size or fn.size) < fn.size
        return indices if fits else None

    def _value(self, msg: Any, x: Tensor | None) -> Tensor | None:
        fn, shape = msg["fn"], msg["fn"].shape()
        if isinstance(unwrapped(fn), dist.Delta):
            return None
        if x is None:
            return None if _can_sample(fn) else _initial(fn)
        if self.nesting is not None:
            ones = (1,) * (self.nesting + 1 + fn.event_dim - x.ndim)
            x = x.reshape(x.shape[0], *ones, *x.shape[1:])
        joint = AUTOGUIDE_LATENT.match(msg["name"]) is not None
        if x.numel() == shape.numel():
            return replayed(fn, as_drawn(fn, x.reshape(shape)), joint)
        try:  # downstream of what is enumerated, all cases share one value
            return replayed(fn, as_drawn(fn, x.expand(shape)), joint)
        except RuntimeError:
            return None


def _can_sample(fn: Any) -> bool:
    with torch.random.fork_rng(devices=[]):
        try:
            fn.sample()
        except NotImplementedError:
            return False
        except Exception:  # whatever else is wrong, the program itself will say
            return True
    return True


def _initial(fn: Any) -> Tensor:
    """Random values of the support of `fn`, uniform on (-2, 2) in unconstrained space."""
    to_support = biject_to(fn.support)
    shape = to_support.inverse_shape(fn.shape())
    return to_support(4 * torch.rand(shape) - 2)


def as_drawn(fn: Any, x: Tensor) -> Tensor:
    """Values of a discrete family in the type in which `fn` draws them; other values as they are."""
    if not _is_discrete(fn):
        return x
    with torch.no_grad():
        return x.to(fn.sample().dtype)


def replayed(fn: Any, x: Tensor, joint: bool = False) -> Tensor:
    """`x` exactly, with the derivative of `path(fn, x, joint)`; constant where there is none."""
    if not x.is_floating_point() or not fn.has_rsample or _is_discrete(fn):
        return x
    try:
        moved = path(fn, x.detach(), joint)
    except NotImplementedError:  # no mean, no variance or no inverse
        return x
    return x + torch.where(torch.isfinite(moved), moved - moved.detach(), 0)


def path(fn: Any, x: Tensor, joint: bool = False) -> Tensor:
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
    if isinstance(fn, td.TransformedDistribution) and not isinstance(fn, MOMENTS):
        return _transformed(fn, x)
    return _moments(fn, x)


def _is_discrete(fn: Any) -> bool:
    try:
        return bool(fn.support.is_discrete)
    except NotImplementedError:
        return False


def _moved(loc: Tensor, scale: Tensor, x: Tensor) -> Tensor:
    return loc + scale * ((x - loc) / scale).detach()


def _moments(fn: Any, x: Tensor) -> Tensor:
    """By mean and standard deviation, slowed towards the edge of the support, which it does not leave."""
    mean = fn.mean
    moved = _moved(mean, fn.variance.sqrt(), x)
    return x + _speed(name_of(fn.support), x, mean.detach()) * (moved - moved.detach())


def _speed(support: str, x: Tensor, mean: Tensor) -> Tensor:
    """1 around the mean; beyond it the distance to the edge over that of the mean."""
    below, above = x / mean, (1 - x) / (1 - mean)
    if support in BOUNDED:
        return torch.minimum(below, above).clamp(max=1)
    return below.clamp(max=1) if support in POSITIVE else torch.ones_like(x)


def _simplex(fn: Any, x: Tensor) -> Tensor:
    moved = _moments(fn, x)
    return moved / moved.sum(-1, keepdim=True)


def _multivariate(fn: Any, x: Tensor) -> Tensor:
    tril = getattr(fn, "_unbroadcasted_scale_tril", None)
    tril = torch.linalg.cholesky(fn.covariance_matrix) if tril is None else tril
    difference = (x - fn.loc).detach().unsqueeze(-1)
    noise = torch.linalg.solve_triangular(tril.detach(), difference, upper=False)
    return fn.loc + (tril @ noise).squeeze(-1)


def _joint(fn: Any, x: Tensor) -> Tensor:
    """dx = dloc + ½ dΣ Σ⁻¹ (x - loc): this too gives x + dx the covariance Σ + dΣ."""
    difference, covariance = (x - fn.loc).detach(), fn.covariance_matrix
    solved = torch.linalg.solve(covariance.detach(), difference.unsqueeze(-1))
    return fn.loc + difference / 2 + (covariance @ solved).squeeze(-1) / 2


def _transformed(fn: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        for transform in reversed(fn.transforms):
            x = transform.inv(x)
    x = path(fn.base_dist, x)
    for transform in fn.transforms:
        x = transform(x)
    return x


FORMS: tuple[tuple[tuple[type, ...], Callable[[Any, Tensor], Tensor]], ...] = (
    (LOCATION_SCALE, lambda fn, x: _moved(fn.loc, fn.scale, x)),
    (MULTIVARIATE, _multivariate),
    (SCALE, lambda fn, x: fn.scale * (x / fn.scale).detach()),
    ((td.Exponential,), lambda fn, x: (x * fn.rate).detach() / fn.rate),
    ((td.Dirichlet,), _simplex),
    ((td.Uniform,), lambda fn, x: _moved(fn.low, fn.high - fn.low, x)),
    (
        (LogitRelaxedBernoulli,),  # a logistic distribution of this location and scale
        lambda fn, x: _moved(fn.logits / fn.temperature, 1 / fn.temperature, x),
    ),
)
