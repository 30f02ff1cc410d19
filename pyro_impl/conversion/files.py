"""Pyro's own files, read by torch's safe loading, which makes only tensors and Pyro's constraints."""

from __future__ import annotations

import inspect
import io
import zipfile
from pathlib import Path
from typing import Any

import torch
from pyro.distributions import constraints as pyro_constraints
from torch import Tensor
from torch.distributions import constraints

from pyro_impl.recording.sites import to_array
from twinplate.conversion.contents import checked_sizes
from twinplate.conversion.trained_file import Trained
from twinplate.errors import InputError
from twinplate.records.record import Array

INSTEAD = (
    "expected what pyro.get_param_store().save, torch.save(module.state_dict()) or torch.save of a "
    "dictionary of tensors writes. In a program that you trust, load it and save what "
    "pyro_impl.trained() gives"
)


def read_trained(path: Path, content: bytes) -> Trained:
    """A parameter store that Pyro saved, or a dictionary of tensors. Raises InputError for anything else."""
    found = _load(path, content)
    if set(found) == {"params", "constraints"} and isinstance(found["params"], dict):
        return _of_store(path, found["params"], content)
    if not all(isinstance(x, Tensor) for x in found.values()):
        raise InputError(f"{path} holds {_kinds(found)}; {INSTEAD}")
    _check_sizes(path, found, content)
    params = {n: to_array(x.detach()) for n, x in found.items() if x.is_floating_point()}
    raw = {n: n.removesuffix("_unconstrained") for n in params if n.endswith("_unconstrained")}
    params = {raw.get(name, name): values for name, values in params.items()}
    return Trained(params, unconstrained=frozenset(raw.values()))


def read_optimizer(path: Path, content: bytes) -> Trained:
    """What `optim.save` of Pyro wrote, of Adam or ClippedAdam. Raises InputError for anything else."""
    found = _load(path, content)
    mean: dict[str, Array] = {}
    variance: dict[str, Array] = {}
    steps: dict[str, int] = {}
    for name, state in found.items():
        moments = _moments(state)
        if moments is None:
            raise InputError(
                f"{path} holds no state of Adam for {name!r}; expected what optim.save of pyro.optim.Adam or "
                "ClippedAdam writes after a step"
            )
        tensors = {key: moments[key] for key in ("exp_avg", "exp_avg_sq")}
        _check_sizes(path, tensors, content)
        mean[name], variance[name] = (to_array(x.detach()) for x in tensors.values())
        steps[name] = int(moments["step"])
    return Trained({}, mean, variance, steps)


def _load(path: Path, content: bytes) -> dict[str, Any]:
    """The dictionary in a file of torch.save, which has to be a zip file."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            checked_sizes(path, {i.filename: i.file_size for i in file.infolist()}, content)
        with torch.serialization.safe_globals(_constraints()):
            found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:  # damaged bytes make torch raise a dozen types
        told = str(error).strip().splitlines() or [type(error).__name__]
        why = next((line for line in told if "Unsupported" in line or "GLOBAL" in line), told[0])
        raise InputError(
            f"{path} cannot be loaded without running what is in it, or it is damaged ({why.strip()[:160]}); "
            f"{INSTEAD}"
        ) from error
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise InputError(f"{path} holds an object of type {type(found).__name__}; {INSTEAD}")
    return found


def _constraints() -> list[Any]:
    """The classes of constraints, which hold bounds and nothing that runs."""
    modules = [vars(module).values() for module in (constraints, pyro_constraints)]
    values = [value for found in modules for value in found]
    kinds = {v if inspect.isclass(v) else type(v) for v in values}
    return [
        kind
        for kind in kinds
        if issubclass(kind, constraints.Constraint) and not issubclass(kind, property)
    ]


def _of_store(path: Path, params: dict[str, Any], content: bytes) -> Trained:
    """Unconstrained values; the constraints are the program's own, those of the file are left alone."""
    if not all(isinstance(x, Tensor) for x in params.values()):
        raise InputError(f"{path} holds {_kinds(params)} among its params; {INSTEAD}")
    _check_sizes(path, params, content)
    return Trained({n: to_array(x) for n, x in params.items()}, unconstrained=frozenset(params))


def _moments(state: Any) -> dict[str, Any] | None:
    """Adam's state of one parameter in a `state_dict` of its optimiser, or of a scheduler around it."""
    if isinstance(state, dict) and isinstance(state.get("optimizer"), dict):
        state = state["optimizer"]
    inner = state.get("state") if isinstance(state, dict) else None
    of_one = next(iter(inner.values()), None) if isinstance(inner, dict) else None
    if not isinstance(of_one, dict) or set(of_one) != {"step", "exp_avg", "exp_avg_sq"}:
        return None
    step, tensors = of_one["step"], (of_one["exp_avg"], of_one["exp_avg_sq"])
    number = isinstance(step, int) or (isinstance(step, Tensor) and step.numel() == 1)
    return of_one if number and all(isinstance(x, Tensor) for x in tensors) else None


def _check_sizes(path: Path, tensors: dict[str, Tensor], content: bytes) -> None:
    """A tensor may be larger than what is stored of it: it may repeat one number as often as it likes."""
    checked_sizes(path, {n: x.numel() * x.element_size() for n, x in tensors.items()}, content)


def _kinds(found: dict[str, Any]) -> str:
    other = {type(value).__name__ for value in found.values() if not isinstance(value, Tensor)}
    return f"values of type {', '.join(sorted(other)[:4])}"
