"""Models whose items have several latents and no Gaussian posterior, written once for both frameworks.

    contrast  a log-normal contrast of each image times its components, in a plate of their own
    counts    over-dispersed counts with components and a library size of each cell
    shares    counts of words from three topics: shares on the simplex, a positive length
    series    a state at each of six times, and how much each item's data scatter around it

A model is called as `model(x, batch_size)`, made from a framework's module `f`, its distributions `d`, its
arrays' module `xp` (torch or jax.numpy), and `array`, which makes such an array.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

K, D, TIMES = 2, 6, 6
NOISE, CONTRAST, LIBRARY, CONCENTRATION = 0.5, 0.3, 0.4, 8.0
LENGTH, SCATTER, KEPT, STEP = (20.0, 0.5), (-0.7, 0.4), 0.8, 0.5
_rng = np.random.default_rng(7)
LOADINGS = 0.6 * (_rng.normal(size=(D, 1)) + 0.7 * _rng.normal(size=(D, K)))
INTERCEPT = _rng.normal(1.5, 0.5, D)
TOPICS = _rng.dirichlet(np.ones(D), 3)

Latents = dict[str, Any]


@dataclass(frozen=True)
class Model:
    """simulate: from a generator and N, data (N, ·) and latents by name; inputs: what the encoder gets."""

    make: Callable[..., Any]
    simulate: Callable[[np.random.Generator, int], tuple[np.ndarray, Latents]]
    inputs: Callable[[np.ndarray], np.ndarray] = lambda x: x


def _contrast(f: Any, d: Any, xp: Any, array: Any, items_first: Any) -> Any:
    loadings = array(LOADINGS)

    def model(x: Any, batch_size: int | None = None) -> None:
        with f.plate("items", len(x), batch_size, dim=-1):
            x = f.subsample(x, event_dim=1)
            contrast = f.sample("contrast", d.LogNormal(array(0.0), CONTRAST))
            with f.plate("components", K, dim=-2):
                a = f.sample("a", d.Normal(array(0.0), 1.0))
            mean = contrast[..., None] * (items_first(a) @ loadings.mT)
            f.sample("x", d.Normal(mean, NOISE).to_event(1), obs=x)

    return model


def _simulated_contrast(rng: np.random.Generator, n: int) -> tuple[np.ndarray, Latents]:
    a, contrast = rng.normal(size=(n, K)), np.exp(CONTRAST * rng.normal(size=n))
    x = contrast[:, None] * (a @ LOADINGS.T) + NOISE * rng.normal(size=(n, D))
    return x, {"a": a, "contrast": contrast}


def _counts(f: Any, d: Any, xp: Any, array: Any, items_first: Any) -> Any:
    loadings, intercept = array(LOADINGS), array(INTERCEPT)

    def model(x: Any, batch_size: int | None = None) -> None:
        with f.plate("items", len(x), batch_size, dim=-1):
            x = f.subsample(x, event_dim=1)
            library = f.sample("library", d.LogNormal(array(0.0), LIBRARY))
            with f.plate("components", K, dim=-2):
                a = f.sample("a", d.Normal(array(0.0), 1.0))
            mean = library[..., None] * xp.exp(items_first(a) @ loadings.mT + intercept)
            data = d.GammaPoisson(array(CONCENTRATION), CONCENTRATION / mean)
            f.sample("x", data.to_event(1), obs=x)

    return model


def _simulated_counts(rng: np.random.Generator, n: int) -> tuple[np.ndarray, Latents]:
    a, library = rng.normal(size=(n, K)), np.exp(LIBRARY * rng.normal(size=n))
    mean = library[:, None] * np.exp(a @ LOADINGS.T + INTERCEPT)
    x = rng.poisson(rng.gamma(CONCENTRATION, mean / CONCENTRATION)).astype(np.float64)
    return x, {"a": a, "library": library}


def _shares(f: Any, d: Any, xp: Any, array: Any, items_first: Any) -> Any:
    topics = array(TOPICS)

    def model(x: Any, batch_size: int | None = None) -> None:
        with f.plate("items", len(x), batch_size, dim=-1):
            x = f.subsample(x, event_dim=1)
            length = f.sample("length", d.Gamma(array(LENGTH[0]), LENGTH[1]))
            shares = f.sample("shares", d.Dirichlet(array(np.full(3, 3.0))))
            f.sample("x", d.Poisson(length[..., None] * (shares @ topics)).to_event(1), obs=x)

    return model


def _simulated_shares(rng: np.random.Generator, n: int) -> tuple[np.ndarray, Latents]:
    length, shares = rng.gamma(LENGTH[0], 1 / LENGTH[1], n), rng.dirichlet(np.full(3, 3.0), n)
    x = rng.poisson(length[:, None] * (shares @ TOPICS)).astype(np.float64)
    return x, {"length": length, "shares": shares}


def _series(f: Any, d: Any, xp: Any, array: Any, items_first: Any) -> Any:
    def model(x: Any, batch_size: int | None = None) -> None:
        with f.plate("items", len(x), batch_size, dim=-1):
            x = f.subsample(x, event_dim=1)
            scatter = f.sample("scatter", d.LogNormal(array(SCATTER[0]), SCATTER[1]))
            state = f.sample("state_0", d.Normal(array(0.0), 1.0))
            for t in range(TIMES):
                if t:
                    state = f.sample(f"state_{t}", d.Normal(KEPT * state, STEP))
                f.sample(f"x_{t}", d.Normal(state, scatter), obs=x[..., t])

    return model


def _simulated_series(rng: np.random.Generator, n: int) -> tuple[np.ndarray, Latents]:
    scatter, states = np.exp(SCATTER[0] + SCATTER[1] * rng.normal(size=n)), [rng.normal(size=n)]
    for _ in range(TIMES - 1):
        states.append(KEPT * states[-1] + STEP * rng.normal(size=n))
    x = np.stack(states, 1) + scatter[:, None] * rng.normal(size=(n, TIMES))
    return x, {"scatter": scatter, **{f"state_{t}": state for t, state in enumerate(states)}}


MODELS = {
    "contrast": Model(_contrast, _simulated_contrast),
    "counts": Model(_counts, _simulated_counts, np.log1p),
    "shares": Model(_shares, _simulated_shares, np.log1p),
    "series": Model(_series, _simulated_series),
}
