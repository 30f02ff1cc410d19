"""Deliberate mistakes, one line each, and the kind of difference that must show them first.

Each is a function `mistake(monkeypatch)` that spoils one twin; `KINDS` says which words may stand
first in `compare.differences`. Training and posterior have checks of their own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as pdist
import pytest
import torch

from pyro_impl.programs.normal import MultivariateNormal as PyroNormal

Patch = pytest.MonkeyPatch


def _module(name: str) -> Any:
    return sys.modules[name]


def _in_models(patch: Patch, package: str, families: Any, **changed: Any) -> None:
    """Other families of distributions for the models of one twin alone."""
    spoilt = SimpleNamespace(**{**vars(families), **changed})
    patch.setattr(_module(f"{package}.programs.models"), "dist", spoilt)


def plate_dim(patch: Patch) -> None:
    """The mini-batch on dim=-3 instead of -1 in NumPyro."""

    class Moved(numpyro.plate):  # a class, as NumPyro's enumeration expects of its plate
        def __init__(self, name: str, *args: Any, dim: int, **kwargs: Any) -> None:
            super().__init__(name, *args, dim=-3 if name == "mini_batch" else dim, **kwargs)

    patch.setattr(numpyro, "plate", Moved)


def no_subsample_scale(patch: Patch) -> None:
    """N / B forgotten in Pyro."""

    def unscaled(x: Any, num_items: Any) -> Any:
        return pyro.plate("mini_batch", x.shape[0], dim=-1)

    for module in ("pyro_impl.programs.models", "pyro_impl.programs.guides"):
        patch.setattr(_module(module), "mini_batch", unscaled)


def other_site_name(patch: Patch) -> None:
    """`a.T` for `a` in both NumPyro programs, as in the answer's model."""
    original = numpyro.sample
    patch.setattr(
        numpyro, "sample", lambda name, *a, **k: original("a.T" if name == "a" else name, *a, **k)
    )


def not_auxiliary(patch: Patch) -> None:
    """`is_auxiliary` forgotten in NumPyro."""
    original = numpyro.sample
    patch.setattr(
        numpyro,
        "sample",
        lambda *a, infer=None, **k: original(*a, **k, infer={"is_auxiliary": False}),
    )


def no_event_dim(patch: Patch) -> None:
    """The likelihood without `.to_event(1)` of the mask in NumPyro: features become batch dims."""
    original = ndist.Distribution.to_event
    patch.setattr(ndist.Distribution, "to_event", lambda self, n=None: original(self, 0))


def wrong_transpose(patch: Patch) -> None:
    """The auxiliary sample reshaped to (K, B) instead of transposed in Pyro."""

    def reshaped(a: torch.Tensor) -> torch.Tensor:
        a = a if a.ndim == 2 else a.squeeze(-3)
        return a.reshape(*a.shape[:-2], a.shape[-1], a.shape[-2])

    patch.setattr(_module("pyro_impl.programs.guides"), "components_first", reshaped)


def variance_for_scale(patch: Patch) -> None:
    """The prior's scale squared in NumPyro."""
    _in_models(patch, "numpyro_impl", ndist, Normal=lambda loc, scale: ndist.Normal(loc, scale**2))


def density_of_the_noise(patch: Patch) -> None:
    """-½‖ε‖² and no log determinant in Pyro."""

    def log_prob(self: Any, value: torch.Tensor) -> torch.Tensor:
        noise = self.noise_of(value)
        return -0.5 * noise.square().sum(-1) - 0.918938533204672 * self.noise_size

    patch.setattr(PyroNormal, "log_prob", log_prob)


def no_mask(patch: Patch) -> None:
    """Missing entries scored as zeros in NumPyro."""
    patch.setattr(ndist.Distribution, "mask", lambda self, mask: self)


def wrong_scale_of_delta(patch: Patch) -> None:
    """A loss off by a factor in NumPyro, its sites right."""
    module = _module("numpyro_impl.recording.evaluation")
    original = module.make_loss

    def spoilt(*args: Any) -> Callable[..., Any]:
        loss = original(*args)
        return lambda *a: 1.0001 * loss(*a)

    patch.setattr(module, "make_loss", spoilt)


def detached_loc(patch: Patch) -> None:
    """A stop-gradient too many in Pyro: every value right, the gradient wrong."""
    module = _module("pyro_impl.programs.guides")
    original = module._encode

    def detached(*args: Any) -> Any:
        encoded = original(*args)
        object.__setattr__(encoded, "loc", encoded.loc.detach())
        return encoded

    patch.setattr(module, "_encode", detached)


def untransposed_square_weight(patch: Patch) -> None:
    """`hidden2`, a square weight, not transposed on its way to flax."""
    module = _module("numpyro_impl.recording.evaluation")
    original = module.to_native

    def spoilt(*args: Any) -> Any:
        native = original(*args)
        layer = native["encoder$params"]["hidden2"]
        layer["kernel"] = jnp.transpose(layer["kernel"])
        return native

    patch.setattr(module, "to_native", spoilt)


def exp_for_softplus(patch: Patch) -> None:
    """Another map to positive numbers for the guide's scales in Pyro; both are 1 at 0."""
    patch.setattr(_module("pyro_impl.programs.encoder"), "positive", torch.exp)


def heavier_tails(patch: Patch) -> None:
    """A Student t for the likelihood in Pyro."""

    def student(loc: Any, scale: Any) -> Any:
        return (
            pdist.StudentT(30.0, loc, scale) if loc.shape[-1:] == (4,) else pdist.Normal(loc, scale)
        )

    spoilt = SimpleNamespace(**{**vars(pdist), "Normal": student})
    patch.setattr(_module("pyro_impl.programs.likelihoods"), "dist", spoilt)


# mistake -> kinds of difference of which one must stand first
KINDS: dict[Callable[[Patch], None], tuple[str, ...]] = {
    plate_dim: ("plates", "raised"),
    no_subsample_scale: ("plates",),
    other_site_name: ("sites",),
    not_auxiliary: ("sites", "raised"),
    no_event_dim: ("shape", "raised"),
    wrong_transpose: ("value",),
    variance_for_scale: ("density",),
    density_of_the_noise: ("density",),
    no_mask: ("density",),
    heavier_tails: ("density",),
    untransposed_square_weight: ("value",),
    exp_for_softplus: ("value",),
    wrong_scale_of_delta: ("loss",),
    detached_loc: ("gradient",),
}
