"""Public names that are imported when they are asked for."""

from __future__ import annotations

import sys

import pytest

from twinplate.lazily import public_names


def test_names_are_found_whoever_loads_the_modules(tmp_path, monkeypatch):
    """pytest loads those of a plugin that stands in its checkout, as this package does."""
    folder = tmp_path / "own_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "public.py").write_text("from own_package.numbers import ONE as UN, TWO\n")
    (folder / "numbers.py").write_text("ONE, TWO = 1, 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    pytest.register_assert_rewrite("own_package")
    __import__("own_package")
    look_up, names = public_names("own_package")
    assert (look_up("UN"), look_up("TWO")) == (1, 2)
    assert {"UN", "TWO"} <= {*names()} and "ONE" not in names()
    with pytest.raises(AttributeError, match="has no attribute 'ONE'"):
        look_up("ONE")
    for name in [name for name in sys.modules if name.startswith("own_package")]:
        monkeypatch.delitem(sys.modules, name)
