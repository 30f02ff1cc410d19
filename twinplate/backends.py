"""Find an implementation by the name of its framework."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from twinplate.errors import InputError

# backend -> (the package, the framework modules it needs)
BACKENDS = {
    "pyro": ("pyro_impl", ("torch", "pyro")),
    "numpyro": ("numpyro_impl", ("jax", "numpyro", "flax", "optax")),
}


def load_backend(name: str) -> ModuleType:
    """The package `pyro_impl` or `numpyro_impl`.

    Raises InputError for another name, and, naming the extra to install, when its framework is absent.
    """
    if name not in BACKENDS:
        raise InputError(f"backend is {name!r}; expected 'pyro' or 'numpyro'")
    package, needed = BACKENDS[name]
    missing = [module for module in needed if not _found(module)]
    if missing:
        raise InputError(
            f"backend {name!r} needs {' and '.join(missing)}, which cannot be imported; install it "
            f"with: pip install 'twinplate[{name}]'"
        )
    return importlib.import_module(package)


def default_backend() -> str:
    """NumPyro, or Pyro where only that is installed. Raises InputError where neither is."""
    available = available_backends()
    if not available:
        raise InputError(
            "neither framework can be imported; install one with: pip install 'twinplate[numpyro]' or "
            "pip install 'twinplate[pyro]'"
        )
    return "numpyro" if "numpyro" in available else available[0]


def available_backends() -> list[str]:
    """The backends whose framework is installed."""
    return [name for name, (_, needed) in BACKENDS.items() if all(map(_found, needed))]


def _found(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:
        return False
