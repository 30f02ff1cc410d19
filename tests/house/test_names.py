"""No module and no wing bears the name of a public function: `import package.name` means one thing."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("twinplate", "pyro_impl", "numpyro_impl")


def public_functions(package: str) -> set[str]:
    """The lower-case callables in `__all__`."""
    module = importlib.import_module(package)
    return {n for n in module.__all__ if n == n.lower() and callable(getattr(module, n))}


def modules_and_wings(root: Path) -> dict[str, str]:
    """By path: the names of files and of folders with Python in them, on the disk below `root`."""
    files = [path for path in root.rglob("*.py") if path.stem != "__init__"]
    wings = {path.parent for path in root.rglob("*.py")} - {root}
    return {str(path.relative_to(root)): path.stem for path in (*files, *wings)}


def clashes(root: Path, functions: set[str]) -> list[str]:
    return [path for path, name in modules_and_wings(root).items() if name in functions]


def test_no_module_bears_the_name_of_a_public_function():
    functions = {package: public_functions(package) for package in PACKAGES}
    assert functions["twinplate"] >= {"verify", "compare"}
    assert functions["pyro_impl"] == functions["numpyro_impl"] >= {"fit", "posterior", "evaluate"}
    every = set().union(*functions.values())
    for package in PACKAGES:
        assert len(modules_and_wings(ROOT / package)) > 25
        assert clashes(ROOT / package, every) == [], package


@pytest.mark.parametrize("path", ["fit.py", "wing/fit.py", "fit/__init__.py", "wing/fit/module.py"])
def test_a_clash_is_seen(tmp_path, path):
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).touch()
    (tmp_path / "fit_command.py").touch()
    assert clashes(tmp_path, {"fit"}) == [
        path.removesuffix("/__init__.py").removesuffix("/module.py")
    ]
