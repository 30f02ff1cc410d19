"""Public names have an example in their docstring, and every example prints what it says."""

from __future__ import annotations

import doctest
import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("twinplate", "pyro_impl", "numpyro_impl")
NEEDS = {"twinplate.interop.arviz": "xarray", "twinplate.interop.sklearn": "sklearn"}  # of extras


def modules_with_examples() -> list[str]:
    """Dotted names, found in the text: collecting imports nothing."""
    paths = [
        path.relative_to(ROOT)
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if ">>> " in path.read_text()
    ]
    return [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths]


def in_one_process(names: Sequence[str]) -> list[object]:
    """Parameters whose tests share a worker with those of their package, and so the imported framework."""
    groups = [pytest.mark.xdist_group(f"docstrings of {name.split('.')[0]}") for name in names]
    return [pytest.param(name, marks=group) for name, group in zip(names, groups, strict=True)]


@contextmanager
def own_state() -> Iterator[None]:
    """A parameter store and random numbers that no example shares with another module's."""
    import pyro
    import torch

    with pyro.get_param_store().scope(), torch.random.fork_rng():
        yield


@pytest.mark.parametrize("name", in_one_process(modules_with_examples()))
def test_examples_print_what_they_say(name, own_folder):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    module = importlib.import_module(name)
    with nullcontext() if name.startswith("numpyro_impl") else own_state():
        done = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert done.attempted and not done.failed


@pytest.mark.parametrize("package", in_one_process(PACKAGES))
def test_every_public_name_has_an_example(package):
    module = importlib.import_module(package)
    assert len(module.__all__) > 10
    without = {
        f"{package}.{name}"
        for name in module.__all__
        if not doctest.DocTestParser().get_examples(getattr(module, name).__doc__ or "")
    }
    assert without == set()


@pytest.mark.parametrize(("printed", "failures"), [("3", 0), ("4", 1)])
def test_an_example_can_fail(printed, failures, capsys):
    example = doctest.DocTestParser().get_doctest(f">>> 1 + 2\n{printed}\n", {}, "sum", None, None)
    assert doctest.DocTestRunner().run(example).failed == failures
    assert ("Failed example" in capsys.readouterr().out) == bool(failures)
