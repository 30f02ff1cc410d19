"""A fit and its items as a DataTree, the form in which ArviZ takes posteriors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from twinplate.data.columns import default_name
from twinplate.data.frames import aligned, item_names
from twinplate.errors import InputError
from twinplate.extras import import_extra
from twinplate.programs.linear_gaussian import Array
from twinplate.seeds import generator
from twinplate.training.state import Fit
from twinplate.words import counted

DIMS: dict[str, dict[str, tuple[str, ...]]] = {  # of every variable, by group
    "posterior": {"a": ("chain", "draw", "item", "component")},
    "posterior_predictive": {"x": ("chain", "draw", "item", "feature")},
    "log_likelihood": {"x": ("chain", "draw", "item", "feature")},
    "observed_data": {"x": ("item", "feature")},
    "constant_data": {  # those that the model has
        "loadings": ("feature", "component"),
        "intercept": ("feature",),
        "noise_scale": ("feature",),
        "concentration": ("feature",),
        "offset": ("item",),
    },
}


def to_arviz(
    fit: Fit,
    x: Any,
    *,
    items: Sequence[str | int] | None = None,
    offsets: Any = None,
    num_chains: int = 4,
    num_samples: int = 250,
    seed: int = 0,
) -> Any:
    """An `xarray.DataTree` of the guide's draws for the items of `x` (N, D), NaN where missing.

    items: names of the N items; by default those that a frame `x` has, or 0 to N - 1.
    offsets: (N,), of counts, as `Fit.posterior` takes them.
    num_chains, num_samples: draws are independent, and so are chains; several let diagnostics compare them.

    Its groups have the dims of `DIMS`: `posterior`, the latents `a`; `posterior_predictive`, measurements `x`
    of every entry, missing ones too; `log_likelihood`, of every entry given its item's latents;
    `observed_data`; and `constant_data`, the fitted model. Leaving one entry out (`az.loo`) predicts it from
    the other entries of its item. Where entries are missing, the likelihood is of those that are observed, in
    a row: its dims are chain, draw and entry, with the item and the feature of each entry for coordinates.

    It is of N · D · num_chains · num_samples numbers: give the items that you mean to look at.

    Raises InputError where `x` or `items` do not fit, with an amplitude, and where xarray is missing.

    >>> import numpy as np
    >>> from twinplate import Fit, ProgramConfig, TrainingState, initial_params, make_program, to_arviz
    >>> x = np.random.default_rng(0).normal(size=(50, 3))
    >>> program = make_program(x, ProgramConfig(num_features=3, num_components=2))
    >>> fit = Fit(TrainingState.start(initial_params(program, 0)), np.zeros(0), program=program)
    >>> tree = to_arviz(fit, x[:5], num_samples=100)
    >>> dict(tree["posterior"]["a"].sizes)
    {'chain': 4, 'draw': 100, 'item': 5, 'component': 2}
    """
    xarray = import_extra("xarray", "xarray", "arviz")
    for name, number in (("num_chains", num_chains), ("num_samples", num_samples)):
        if number < 1:
            raise InputError(f"{name} is {number}; expected 1 or more")
    named, offsets = item_names(x) if items is None else tuple(items), aligned(offsets, x)
    x = fit.predict(x, offsets=offsets).x  # checked
    names = list(named or range(len(x)))
    if len(names) != len(x):
        raise InputError(
            f"items names {counted(len(names), 'item')}; expected {len(x)}, those of x"
        )
    assert fit.program is not None  # or there were no predictions
    offsets = fit.program.offsets_of(x, offsets)
    normal = fit.program.config.likelihood == "normal"
    model: Any = fit.generative if normal else fit.generalised
    a = fit.sample(x, num_chains * num_samples, seed=seed, offsets=offsets)
    a = a.reshape(num_chains, num_samples, *a.shape[1:])
    of = () if offsets is None else (offsets,)  # a normal has none
    constant = {n: getattr(model, n, None) for n in DIMS["constant_data"]} | {"offset": offsets}
    values = {
        "posterior": {"a": a},
        "posterior_predictive": {"x": model.measure(a, generator(seed, "measured"), *of)},
        "log_likelihood": {"x": model.log_density(x, a, *of)},
        "observed_data": {"x": x},
        "constant_data": {name: value for name, value in constant.items() if value is not None},
    }
    coords = {
        "chain": np.arange(num_chains),
        "draw": np.arange(num_samples),
        "item": names,
        "component": np.arange(model.num_components),
        "feature": list(fit.features or map(default_name, range(model.num_features))),
    }
    groups = {group: _dataset(xarray, group, arrays, coords) for group, arrays in values.items()}
    observed = ~np.isnan(x)
    if not observed.all():
        groups["log_likelihood"] = _entries(xarray, groups["log_likelihood"], observed)
    return xarray.DataTree.from_dict(groups)


def _dataset(xarray: Any, group: str, arrays: dict[str, Array], coords: dict[str, Any]) -> Any:
    dims = DIMS[group]
    used = {dim for name in arrays for dim in dims[name]}
    variables = {name: (dims[name], values) for name, values in arrays.items()}
    return xarray.Dataset(
        variables,
        {dim: labels for dim, labels in coords.items() if dim in used},
        {"inference_library": "twinplate"},
    )


def _entries(xarray: Any, likelihood: Any, observed: np.ndarray) -> Any:
    """The likelihood (chain, draw, item, feature) of the observed entries alone, (chain, draw, entry)."""
    places = dict(zip(("item", "feature"), np.nonzero(observed), strict=True))
    return likelihood.isel({dim: xarray.DataArray(at, dims="entry") for dim, at in places.items()})
