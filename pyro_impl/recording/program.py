"""A Pyro program that can be recorded: a model, with or without a guide."""

from __future__ import annotations

import copy
import platform
from collections.abc import Callable
from functools import partial
from importlib import metadata
from typing import Any

import numpy as np
import pyro
import torch
from pyro.infer.autoguide import AutoGuide
from torch import nn
from torch.distributions import constraints

from pyro_impl.recording.session import Session
from twinplate.errors import InputError
from twinplate.records.record import Record, Settings
from twinplate.verification.matching.parameters import Rename
from twinplate.verification.recording import StatusCallback, record
from twinplate.verification.trees import Tree


class Program:
    """A model and its guide, functions or modules, which stay as they are.

    Modules are copied for every precision. A program that keeps anything else between its runs is
    better given by `Program.build`.

    >>> import numpy as np
    >>> import pyro
    >>> def model(x):
    ...     z = pyro.sample("z", pyro.distributions.Normal(0.0, 1.0))
    ...     pyro.sample("x", pyro.distributions.Normal(z, 1.0), obs=x)
    >>> record = Program(model).record((np.array(0.5),), seeds=(0,), stress=False)
    >>> list(record.runs["0", "float64"].model)
    ['z', 'x']
    """

    framework = "pyro"

    def __init__(self, model: Callable[..., Any], guide: Callable[..., Any] | None = None) -> None:
        _refuse_predictor(model)
        self.functions = (model, guide)
        self._builder: Callable[[], tuple[Any, Any]] = partial(_copied, model, guide)

    @classmethod
    def build(cls, builder: Callable[[], Any]) -> Program:
        """A program made afresh for every precision by `builder`, which returns model or (model, guide)."""
        program = cls(builder)
        program._builder = partial(_built, builder)
        return program

    def record(
        self,
        args: Tree = (),
        kwargs: Tree | None = None,
        *,
        params: dict[str, Any] | None = None,
        draws: dict[str, Any] | None = None,
        loss: str = "Trace_ELBO",
        particles: int = 1,
        vectorize_particles: bool = False,
        seeds: tuple[int, ...] = (0, 1, 2),
        stress: bool = True,
        like: Record | None = None,
        rename: Rename | None = None,
        alpha: float = 0.0,
        progress: StatusCallback | None = None,
    ) -> Record:
        """Record the program on `args` and `kwargs`, trees of arrays and plain values.

        Arguments and errors as in `twinplate.verification.recording.record`; `like` brings its own settings.
        """
        settings = Settings(loss, particles, vectorize_particles, tuple(seeds), stress, alpha)
        return record(
            self, args, kwargs, params=params, draws=draws, settings=settings, like=like,
            rename=rename, progress=progress,
        )  # fmt: skip

    def versions(self) -> dict[str, str]:
        """Versions of what a record depends on, and the device."""
        return {
            "twinplate": metadata.version("twinplate"),
            "python": platform.python_version(),
            "numpy": np.__version__,
            "torch": torch.__version__,
            "pyro": pyro.__version__,
            "device": str(torch.get_default_device()),
        }

    def session(self, precision: str, settings: Settings) -> Session:
        """A fresh build of the program in "float64" or "float32"."""
        return Session(self._builder, precision, settings)


# Objects of pyro.contrib that hold a program, and predict when they are called
_PREDICTORS = {
    "GPModel": "Program(gp.model, gp.guide)",
    "GPLVM": "Program(gplvm.model, gplvm.guide)",
    "Forecaster": "Program(forecaster.model, forecaster.guide)",
    "HMCForecaster": "Program(forecaster.model)",
    "CEVAE": "Program(cevae.model, cevae.guide)",
}


def _refuse_predictor(model: Any) -> None:
    """Raise InputError for an object of pyro.contrib that is no program itself."""
    for kind in type(model).__mro__:
        if kind.__module__.startswith("pyro.contrib.") and kind.__name__ in _PREDICTORS:
            raise InputError(
                f"model is a {type(model).__name__}, which predicts when it is called; expected the program "
                f"inside: {_PREDICTORS[kind.__name__]}"
            )


def _built(builder: Callable[[], Any]) -> tuple[Any, Any]:
    made = builder()
    _refuse_predictor(made[0] if isinstance(made, tuple) else made)
    return made if isinstance(made, tuple) else (made, None)


def _copied(*programs: Any) -> tuple[Any, ...]:
    """Modules copied together, so that what they share stays shared; functions as they are."""
    known = {id(c): c for c in vars(constraints).values() if isinstance(c, constraints.Constraint)}
    memo: dict[int, Any] = dict(known)  # Pyro tells constraints such as `positive` by identity
    modules = [m for p in programs if isinstance(p, nn.Module) for m in p.modules()]
    guides = {m: (m._model, m.master) for m in modules if isinstance(m, AutoGuide)}
    for guide in guides:  # what it saw of its model is only read, and cannot be copied
        memo[id(guide.prototype_trace)] = guide.prototype_trace
    try:
        copies = tuple(copy.deepcopy(p, memo) for p in programs)
    finally:  # Pyro's autoguides lose their model by being copied, and their copies never have it
        for guide, held in guides.items():
            guide._model, guide.master = held
    for guide in guides:
        memo[id(guide)].__dict__["_model"] = copy.deepcopy(guide._model, memo)
    return copies
