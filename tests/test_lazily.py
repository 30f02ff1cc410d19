"""Public names that are imported when they are asked for."""

from __future__ import annotations

import compileall
import sys

import pytest

from twinplate.lazily import public_names


@pytest.fixture
def own_package(tmp_path, monkeypatch):
    """A package with two numbers, to be imported; its folder."""
    folder = tmp_path / "own_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "public.py").write_text(
        "from own_package.numbers import ONE as UN, TWO\n__all__ = ['TWO', 'UN']\n"
    )
    (folder / "numbers.py").write_text("ONE, TWO = 1, 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.startswith("own_package")]:
        del sys.modules[name]


def test_names_are_found_whoever_loads_the_modules(own_package):
    """pytest loads those of a plugin that stands in its checkout, as this package does."""
    pytest.register_assert_rewrite("own_package")
    __import__("own_package")
    look_up, names = public_names("own_package")
    assert (look_up("UN"), look_up("TWO")) == (1, 2)
    assert {"UN", "TWO"} <= {*names()} and "ONE" not in names()
    with pytest.raises(AttributeError, match="has no attribute 'ONE'"):
        look_up("ONE")


def test_names_are_found_without_sources(own_package):
    compileall.compile_dir(own_package, legacy=True, quiet=1)
    for path in own_package.glob("*.py"):
        path.unlink()
    __import__("own_package")
    look_up, names = public_names("own_package")
    assert (look_up("UN"), look_up("TWO")) == (1, 2) and {"UN", "TWO"} <= {*names()}


def test_modules_are_found_as_attributes(own_package):
    __import__("own_package")
    look_up, _ = public_names("own_package")
    assert look_up("numbers").ONE == 1 and look_up("public").TWO == 2


def test_what_a_module_lacks_when_it_is_imported_is_told(own_package):
    """Python takes an AttributeError for "no such name", and says that alone."""
    (own_package / "numbers.py").write_text("import math\nTWO = math.two\n")
    __import__("own_package")
    look_up, _ = public_names("own_package")
    with pytest.raises(ImportError, match=r"own_package\.numbers cannot .* no attribute 'two'"):
        look_up("TWO")
