"""What Pyro's parameter store and optimiser hold: as arrays, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyro
import torch
from pyro.optim.clipped_adam import ClippedAdam
from pyro.optim.optim import PyroOptim
from torch import Tensor
from torch.distributions import transform_to

from pyro_impl.recording.sites import to_array
from twinplate.conversion.trained_file import Trained
from twinplate.errors import InputError
from twinplate.records.record import Array

MOMENTS = ("exp_avg", "exp_avg_sq")  # as torch calls mean and variance


def trained(optim: PyroOptim | None = None) -> Trained:
    """What Pyro's parameter store holds now, and where the optimiser stands.

    optim: `pyro.optim.Adam`, `AdamW` or `ClippedAdam`, that has taken a step. Raises InputError for another.

    >>> pyro.clear_param_store()
    >>> _ = pyro.param("scale", torch.tensor(2.0), constraint=torch.distributions.constraints.positive)
    >>> float(trained().params["scale"])
    2.0
    """
    params = flat_params(pyro.get_param_store())
    if optim is None:
        return Trained(params)
    mean: dict[str, Array] = {}
    variance: dict[str, Array] = {}
    steps: dict[str, int] = {}
    for leaf, optimizer in optim.optim_objs.items():
        name, state = pyro.get_param_store().param_name(leaf), _adam(optimizer).state[leaf]
        if name is not None and state:
            mean[name], variance[name] = to_array(state["exp_avg"]), to_array(state["exp_avg_sq"])
            steps[name] = int(state["step"])
    return Trained(params, mean, variance, steps)


def restore(trained: Trained, optim: PyroOptim | None = None) -> None:
    """Put values into the parameter store, and moments into the optimiser; modules share what the store has.

    Every parameter has to be in the store: run the guide and the model once first. A parameter without
    moments starts Adam anew.

    Raises InputError for a parameter that the store has not, or has in another shape.

    >>> pyro.clear_param_store()
    >>> _ = pyro.param("scale", torch.tensor(2.0), constraint=torch.distributions.constraints.positive)
    >>> restore(Trained({"scale": to_array(torch.tensor(3.0))}))
    >>> pyro.param("scale").item()
    3.0
    """
    state: Any = pyro.get_param_store().get_state()
    leaves = state["params"]
    missing = sorted(set(trained.params) - set(leaves))
    if missing:
        raise InputError(
            f"the parameter store has no {', '.join(map(repr, missing))}; it has "
            f"{', '.join(leaves) or 'none'}. Run the guide and the model once, so that they declare their "
            "parameters, then restore"
        )
    for name, values in trained.params.items():
        leaf, number = leaves[name], torch.as_tensor(values)
        if name not in trained.unconstrained:
            number = transform_to(state["constraints"][name]).inv(number)
        if number.shape != leaf.shape:
            raise InputError(
                f"parameter {name!r} has the unconstrained shape {tuple(number.shape)}; expected "
                f"{tuple(leaf.shape)}, as it has in the parameter store"
            )
        with torch.no_grad():
            leaf.copy_(number)
    if optim is not None:
        _restore_moments(trained, optim, leaves)


def to_params(trained: Trained, like: Mapping[str, Any] | None = None) -> dict[str, Tensor]:
    """Constrained tensors by name, in torch's default type.

    like: parameters, such as those of the store, whose others stay.

    >>> to_params(Trained({"scale": to_array(torch.tensor(3.0))}))
    {'scale': tensor(3.)}
    """
    given = {n: torch.as_tensor(x).to(torch.get_default_dtype()) for n, x in trained.params.items()}
    return {**(like or {}), **given}


def flat_params(params: Any) -> dict[str, Array]:
    """Constrained values of a parameter store, or of tensors by name; of a leaf with two names, the last."""
    if not isinstance(params, Mapping) and not hasattr(params, "items"):
        raise InputError(
            f"params are of type {type(params).__name__}; expected pyro.get_param_store() or tensors by name"
        )
    named = dict(params.items())
    other = [n for n, x in named.items() if not isinstance(x, Tensor | np.ndarray | float)]
    if other:
        raise InputError(
            f"{other[0]!r} is of type {type(named[other[0]]).__name__}; expected a tensor or an "
            "array by each name"
        )
    leaves = {n: getattr(x, "unconstrained", lambda x=x: x)() for n, x in named.items()}
    last = {id(leaf): name for name, leaf in leaves.items()}
    return {n: to_array(x) for n, x in named.items() if last[id(leaves[n])] == n}


def _adam(optimizer: Any) -> Any:
    """The optimiser of one parameter, without a scheduler around it. Raises InputError for none of Adam's."""
    inner = getattr(optimizer, "optimizer", optimizer)
    if not isinstance(inner, torch.optim.Adam | torch.optim.AdamW | ClippedAdam):
        raise InputError(
            f"the optimiser is {type(inner).__name__}; expected pyro.optim.Adam, AdamW or ClippedAdam, whose "
            "moments both frameworks have. Leave it out to take the parameters alone"
        )
    if any(group.get("amsgrad") for group in inner.param_groups):
        raise InputError(
            "the optimiser keeps a third moment (amsgrad), which NumPyro's Adam has not"
        )
    return inner


def _restore_moments(trained: Trained, optim: PyroOptim, leaves: Mapping[str, Tensor]) -> None:
    kept = {name: leaf.grad for name, leaf in leaves.items()}
    for leaf in leaves.values():
        leaf.grad = None
    optim([leaves[name] for name in trained.params])  # without gradients this only makes its parts
    for name in trained.params:
        leaf, optimizer = leaves[name], _adam(optim.optim_objs[leaves[name]])
        state = optimizer.state[leaf] or _no_moments(leaf, isinstance(optimizer, ClippedAdam))
        optimizer.state[leaf] = state
        steps = trained.steps.get(name, 0)
        for group in (
            optimizer.param_groups
        ):  # ClippedAdam lets its rate decay in each step, and in the call
            group["lr"] *= group.get("lrd", 1.0) ** (steps - int(state["step"]) - 1)
        for key, moments in zip(MOMENTS, (trained.mean, trained.variance), strict=True):
            # In place: steps that were recorded know these tensors
            state[key].copy_(torch.as_tensor(moments.get(name, np.zeros(leaf.shape))))
        if isinstance(state["step"], Tensor):
            state["step"].fill_(steps)
        else:
            state["step"] = steps
    for name, leaf in leaves.items():
        leaf.grad = kept[name]


def _no_moments(leaf: Tensor, clipped: bool) -> dict[str, Any]:
    """Adam's state before its first step; ClippedAdam counts in a whole number."""
    step = 0 if clipped else torch.tensor(0.0)
    return {"step": step, **{key: torch.zeros_like(leaf.detach()) for key in MOMENTS}}
