"""The suite needs both frameworks; its header says which versions, devices and precisions it judges."""

from __future__ import annotations

import pytest

from equivalence_tests.pairs import NEEDS, is_installed
from equivalence_tests.random_numbers import same_random_numbers
from equivalence_tests.worker_memory import compiled_within_bounds, pytest_collection_finish
from twinplate.backends import BACKENDS, available_backends
from twinplate.training.run_directory import versions

# Of every test here.
__all__ = ["compiled_within_bounds", "pytest_collection_finish", "same_random_numbers"]


def pytest_configure(config: pytest.Config) -> None:
    """Stop before collection, saying what to install, when a framework is absent."""
    config.addinivalue_line("markers", "slow: many seeds or many mutations")
    missing = [name for name in BACKENDS if name not in available_backends()]
    if missing:
        needed = ", ".join(module for name in missing for module in BACKENDS[name][1])
        raise pytest.UsageError(
            "equivalence_tests compares Pyro with NumPyro and needs both frameworks; cannot import "
            f"{needed}: pip install 'twinplate[all]'"
        )


def pytest_report_header() -> list[str]:
    """Versions, devices and precisions."""
    import jax
    import torch

    cuda = ", cuda (not judged)" if torch.cuda.is_available() else ""
    absent = ", ".join(package for pair, package in NEEDS.items() if not is_installed(pair))
    return [
        *([f"pairs with {absent} are left out: not installed"] if absent else []),
        "twinplate equivalence: " + ", ".join(f"{k} {v}" for k, v in versions().items()),
        f"devices: torch cpu{cuda}, jax {jax.default_backend()}; judged on cpu, in float64 element by "
        "element and in float32 by the two-precision rule",
    ]
