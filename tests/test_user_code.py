"""Whose code is this? Asked of files and of modules, where they really lie and where they could."""

from __future__ import annotations

import importlib
import json
import os
import re
import site
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from twinplate import user_code
from twinplate.user_code import is_users_file, owner_of_file, owner_of_module

HOME = Path.home()
PURELIB, STDLIB = sysconfig.get_path("purelib"), sysconfig.get_path("stdlib")


@pytest.mark.parametrize(
    "path",
    [
        "lib/python/port.py",
        "lib/python3.11/port.py",
        "my-site-packages/port.py",
        "work/site-packages/port.py",  # not where this interpreter keeps its packages
        "work/dist-packages/port.py",
        "twinplate/port.py",
        "pyro_impl/recording/session.py",
    ],
)
def test_a_users_folder_may_be_called_anything(path):
    assert owner_of_file(str(HOME / path)) == "user"


@pytest.mark.parametrize(
    "name",
    ["port.py", "./lib/python/port.py", "<stdin>", "<string>", "<doctest port.model[0]>"],
)
def test_relative_names_and_typed_code_are_the_users(name):
    assert owner_of_file(name) == "user"


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        (f"{PURELIB}/anything/inside.py", "package"),
        (f"{site.getusersitepackages()}/anything.py", "package"),
        (np.__file__, "package"),
        ("<eval_with_key>.3", "package"),
        (json.__file__, "standard library"),
        (os.__file__, "standard library"),
        ("<frozen importlib._bootstrap>", "standard library"),
        (user_code.__file__, "project"),
        (__file__, "user"),
    ],
)
def test_files_lie_where_the_interpreter_says(name, owner):
    assert owner_of_file(name) == owner


@pytest.mark.parametrize("folder", [site.getusersitepackages(), STDLIB])
def test_a_folder_beside_the_packages_is_not_inside_them(folder):
    assert not is_users_file(f"{folder}/site-packages/port.py")
    assert is_users_file(f"{folder}-of-mine/port.py")


@pytest.mark.parametrize(
    ("package", "owner"),
    [("equivalence_tests", "user"), ("twinplate", "project"), ("another", "package")],
)
def test_the_suites_programs_are_to_be_verified_where_it_is_installed_too(
    package, owner, monkeypatch
):
    root = Path(user_code.__file__).parents[1]
    monkeypatch.setattr(user_code, "OF_PACKAGES", (f"{root}{os.sep}",))
    assert owner_of_file(str(root / package / "pairs" / "vae.py")) == owner


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("__main__", "user"),
        (__name__, "user"),
        ("equivalence_tests.pairs.vae", "user"),
        ("never_imported.at_all", "user"),
        ("pytest", "package"),
        ("torch.nn.modules.linear", "package"),
        ("numpyro_impl.programs.models", "project"),
        ("collections", "standard library"),
        ("builtins", "standard library"),
        (None, "standard library"),
    ],
)
def test_modules_belong_to_whom_their_files_do(name, owner):
    assert owner_of_module(name) == owner


@pytest.fixture
def imported(tmp_path, monkeypatch):
    """`imported(path, text)` imports a new file below a folder of the user's."""
    names = []

    def load(path, text):
        file = tmp_path / path
        file.parent.mkdir(parents=True)
        file.write_text(text)
        monkeypatch.syspath_prepend(file.parent)
        names.append(file.stem)
        return importlib.import_module(file.stem)

    yield load
    for name in names:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("path", ["editable/src/edited.py", "site-packages/edited.py"])
def test_what_is_imported_from_a_users_folder_is_the_users(imported, path):
    assert owner_of_module(imported(path, "").__name__) == "user"


def test_a_users_module_may_bear_a_name_of_the_standard_library(imported):
    assert "this" in sys.stdlib_module_names
    sys.modules.pop("this", None)
    assert owner_of_module(imported("mine/this.py", "").__name__) == "user"


FAILING = "def model():\n    raise KeyError('mine')\n"


@pytest.mark.parametrize("path", ["lib/python/port_that_fails.py", "site-packages/port_here.py"])
@pytest.mark.parametrize("twin", ["pyro_impl", "numpyro_impl"])
def test_a_failure_shows_the_users_line_wherever_it_lies(imported, twin, path):
    pytest.importorskip({"pyro_impl": "pyro", "numpyro_impl": "numpyro"}[twin])
    failures = importlib.import_module(f"{twin}.failures")
    program = imported(path, FAILING)
    with pytest.raises(KeyError) as caught:
        program.model()
    text = failures.failure_of(caught.value, "model", None).traceback
    assert "raise KeyError('mine')" in text


@pytest.mark.parametrize("twin", ["pyro_impl", "numpyro_impl"])
def test_an_error_without_a_text_is_told_by_the_line_that_raised_it(imported, twin):
    pytest.importorskip({"pyro_impl": "pyro", "numpyro_impl": "numpyro"}[twin])
    failures = importlib.import_module(f"{twin}.failures")
    program = imported("mine/asserting.py", "def model(x):\n    assert x > 0\n")
    with pytest.raises(AssertionError) as caught:
        program.model(-1)
    caught.value.args = ()  # pytest may have given it one
    error = failures.failure_of(caught.value, "model", None).error
    assert re.match(
        r"AssertionError, without a text, raised by 'assert x > 0' \(.+asserting.py:2\)", error
    )
