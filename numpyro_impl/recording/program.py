"""A NumPyro program to be recorded: a model, and the guide that fits it."""

from __future__ import annotations

import copy
import platform
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import jax
from numpyro.infer.autoguide import AutoGuide

from numpyro_impl.recording.session import Session
from twinplate.errors import InputError
from twinplate.records.record import Record, Settings
from twinplate.verification.matching.parameters import Rename
from twinplate.verification.recording import StatusCallback, record
from twinplate.verification.trees import Tree

PACKAGES = ("twinplate", "numpyro", "jax", "jaxlib", "flax", "funsor", "numpy")


class Program:
    """A model and, unless it is fitted by MCMC, a guide with the same arguments.

    The objects given are copied before they are run; `build` is for programs that cannot be copied.

    >>> import numpy as np
    >>> import numpyro
    >>> def model(x):
    ...     z = numpyro.sample("z", numpyro.distributions.Normal(0.0, 1.0))
    ...     numpyro.sample("x", numpyro.distributions.Normal(z, 1.0), obs=x)
    >>> record = Program(model).record((np.array(0.5),), seeds=(0,), stress=False)
    >>> list(record.runs["0", "float64"].model)
    ['z', 'x']
    """

    framework = "numpyro"

    def __init__(self, model: Callable[..., Any], guide: Callable[..., Any] | None = None) -> None:
        self.functions = (model, guide)
        self._builder: Callable[[], Any] = lambda: _fresh(model, guide)

    @classmethod
    def build(cls, builder: Callable[[], Any]) -> Program:
        """A program that `builder()` makes afresh: it returns the model, or (model, guide)."""
        program = cls(builder)
        program._builder = builder
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
        """Record all runs of the program on `args` and `kwargs`: `twinplate.verification.recording.record`.

        With `like`, the settings are those of that record.
        """
        settings = Settings(loss, particles, vectorize_particles, tuple(seeds), stress, alpha)
        return record(
            self,
            args,
            kwargs,
            params=params,
            draws=draws,
            settings=settings,
            like=like,
            rename=rename,
            progress=progress,
        )

    def versions(self) -> dict[str, str]:
        """Versions of what a record depends on, and the device."""
        device = jax.devices()[0]
        return {
            "python": platform.python_version(),
            **{name: found for name in PACKAGES if (found := _version(name))},
            "device": f"{device.platform} {device.device_kind}",
        }

    def session(self, precision: str, settings: Settings) -> Session:
        """A fresh build of the program in "float64" or "float32".

        Raises InputError for TraceEnum_ELBO where funsor is not installed.
        """
        if settings.loss == "TraceEnum_ELBO" and find_spec("funsor") is None:
            raise InputError("TraceEnum_ELBO in NumPyro needs funsor; run: pip install funsor")
        return Session(self._build, precision, settings)

    def _build(self) -> tuple[Callable[..., Any], Callable[..., Any] | None]:
        built = self._builder()
        model, guide = built if isinstance(built, tuple) else (built, None)
        for name, function in (("model", model), ("guide", guide)):
            if not callable(function) and not (name == "guide" and function is None):
                raise InputError(f"the builder's {name} is {function!r}; expected a function")
        return model, guide


def _fresh(model: Any, guide: Any) -> tuple[Any, Any]:
    """Copies; autoguides forget the arrays that they keep from an earlier run."""
    model, guide = copy.deepcopy((model, guide))
    if isinstance(guide, AutoGuide):
        guide.prototype_trace = None
    return model, guide


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
