"""The two models: components in a plate, or as one dependent event dimension."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from pyro_impl.programs.likelihoods import entries
from twinplate.programs.shapes import check_items, check_num_items, check_observed, check_plated


def component_model(
    x: Tensor,
    a: Tensor | None = None,
    *,
    loadings: Tensor,
    intercept: Tensor,
    noise_scale: Tensor | float = 1.0,
    loc: Tensor | float = 0.0,
    scale: Tensor | float = 1.0,
    amplitude_scale: float | None = None,
    num_items: int | None = None,
    complete: bool = False,
    likelihood: str = "normal",
    concentration: Tensor | None = None,
    offsets: Tensor | None = None,
) -> Tensor:
    """`a` in the plate `components` (dim=-2) inside `mini_batch` (dim=-1); returns `a` (K, B).

    x: the mini-batch (B, D), NaN where missing.  a: observed values (K, B), if any.
    loadings (D, K), intercept (D,), noise_scale (D,); loc and scale broadcast to (K, B).
    amplitude_scale: standard deviation of log amplitude, a latent (B,) that multiplies loadings @ a.
    num_items: N ≥ B; the log densities are scaled by N / B.
    complete: a promise that no entry is NaN; then nothing is spent on masks.
    likelihood: one of `twinplate.programs.likelihood`, of which noise_scale is the normal's alone, and
        concentration (D,) the negative binomial's.  offsets: (B,), of counts.

    Raises InputError for shapes that do not fit.

    >>> parameters = {"loadings": torch.ones(4, 3), "intercept": torch.zeros(4), "noise_scale": torch.ones(4)}
    >>> a = component_model(torch.zeros(5, 4), **parameters)
    >>> tuple(a.shape)
    (3, 5)
    """
    loc, scale = torch.as_tensor(loc).to(x), torch.as_tensor(scale).to(x)
    _check(x, a, loc, scale, loadings)
    with mini_batch(x, num_items):
        amplitude = sample_amplitude(x, amplitude_scale)
        with pyro.plate("components", loadings.shape[1], dim=-2):
            a = pyro.sample("a", dist.Normal(loc, scale), obs=a)
        predictor = linear_predictor(items_first(a), amplitude, loadings, intercept, offsets)
        sample_x(x, entries(likelihood, predictor, noise_scale, concentration), complete)
    return a


def event_model(
    x: Tensor,
    a: Tensor | None = None,
    *,
    loadings: Tensor,
    intercept: Tensor,
    noise_scale: Tensor | float = 1.0,
    loc: Tensor | float = 0.0,
    scale: Tensor | float = 1.0,
    amplitude_scale: float | None = None,
    num_items: int | None = None,
    complete: bool = False,
    likelihood: str = "normal",
    concentration: Tensor | None = None,
    offsets: Tensor | None = None,
) -> Tensor:
    """The same with `.to_event(1)` instead of the plate: the site `a` is (B, K); returns `a` (K, B).

    Arguments and errors as in `component_model`, an observed `a` (K, B) included.

    >>> parameters = {"loadings": torch.ones(4, 3), "intercept": torch.zeros(4), "noise_scale": torch.ones(4)}
    >>> trace = pyro.poutine.trace(event_model).get_trace(torch.zeros(5, 4), **parameters)
    >>> tuple(trace.nodes["a"]["value"].shape)
    (5, 3)
    """
    loc, scale = torch.as_tensor(loc).to(x), torch.as_tensor(scale).to(x)
    _check(x, a, loc, scale, loadings)
    plated = (loadings.shape[1], x.shape[0])
    with mini_batch(x, num_items):
        amplitude = sample_amplitude(x, amplitude_scale)
        prior = dist.Normal(loc.expand(plated).mT, scale.expand(plated).mT).to_event(1)
        a = pyro.sample("a", prior, obs=None if a is None else a.mT)
        predictor = linear_predictor(a, amplitude, loadings, intercept, offsets)
        sample_x(x, entries(likelihood, predictor, noise_scale, concentration), complete)
    return a.mT


def mini_batch(x: Tensor, num_items: int | None) -> pyro.plate:
    """The plate over the items of `x` (B, D); the caller chose them, the plate knows their share of N."""
    size = check_num_items(num_items, x.shape[0])
    # On the data's device: a captured graph with work for the CPU in it is no CUDA graph.
    items = torch.arange(x.shape[0], device=x.device)
    return pyro.plate("mini_batch", size, subsample=items, dim=-1)


def sample_amplitude(x: Tensor, amplitude_scale: float | None) -> Tensor | None:
    """The other latent of the mini-batch, (B,); None when the model has none."""
    if amplitude_scale is None:
        return None
    return pyro.sample("amplitude", dist.LogNormal(x.new_zeros(()), x.new_tensor(amplitude_scale)))


def linear_predictor(
    a: Tensor,
    amplitude: Tensor | None,
    loadings: Tensor,
    intercept: Tensor,
    offsets: Tensor | None,
) -> Tensor:
    """η (..., B, D) of the latents `a` (..., B, K), items first; the logarithm of an offset is part of it."""
    mean = a @ loadings.mT
    if amplitude is not None:
        mean = amplitude.unsqueeze(-1) * mean
    predictor = mean + intercept
    return predictor if offsets is None else predictor + offsets.log().unsqueeze(-1)


def sample_x(x: Tensor, likelihood: dist.TorchDistribution, complete: bool) -> None:
    """The likelihood of the observed entries."""
    if complete:
        pyro.sample("x", likelihood.to_event(1), obs=x)
        return
    observed = ~x.isnan()
    # A masked NaN would still turn the gradients into NaN, so it is replaced before it enters.
    values = x.masked_fill(~observed, 0.0)
    pyro.sample("x", likelihood.mask(observed).to_event(1), obs=values)


def items_first(a: Tensor) -> Tensor:
    """(K, B) to (B, K). To the left of the plates, (P, K, B) to (P, 1, B, K).

    The components leave the batch shape and their dim=-2 stays behind as 1, so that the plates to
    the left (particles) keep their place.

    >>> import torch
    >>> tuple(items_first(torch.zeros((5, 3, 4))).shape)
    (5, 1, 4, 3)
    """
    return a.mT if a.ndim == 2 else a.mT.unsqueeze(-3)


def _check(x: Tensor, a: Tensor | None, loc: Tensor, scale: Tensor, loadings: Tensor) -> None:
    num_features, num_components = loadings.shape
    batch_size = check_items(x.shape, num_features)
    check_plated("loc", loc.shape, num_components, batch_size)
    check_plated("scale", scale.shape, num_components, batch_size)
    if a is not None:
        check_observed(a.shape, num_components, batch_size)


MODELS = {"component": component_model, "event": event_model}
