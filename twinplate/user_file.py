"""Run a user's Python file and find the programs in it; its errors are told in its own terms."""

from __future__ import annotations

import gc
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from twinplate.errors import InputError
from twinplate.user_code import error_text, is_users_file

SELDOM = (
    100_000,
    1_000,
    1_000,
)  # objects made between two searches for garbage, and searches of the next kind


def parse(target: str) -> tuple[Path, str]:
    """The file and the name of "FILE.py:NAME"; the name is empty without one."""
    file, _, name = target.partition(".py:")
    path = Path(f"{file}.py") if name else Path(target.removesuffix(":"))
    if not path.is_file():
        raise InputError(f"{path} does not exist; expected a Python file, FILE.py or FILE.py:NAME")
    if path.suffix != ".py":
        raise InputError(f"{path} is no Python file; expected FILE.py or FILE.py:NAME")
    return path, name


def run_file(path: Path) -> ModuleType:
    """The module of the file, which is run as `python FILE.py` would, but not as `__main__`.

    Raises InputError, with the user's own frames, for whatever it raises.
    """
    name = f"twinplate_user_file_{path.stem}"
    loader = _AsItStands(name, str(path.resolve()))
    spec = importlib.util.spec_from_file_location(name, path.resolve(), loader=loader)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickles look their module up
    sys.path.insert(0, str(path.resolve().parent))
    with told_in_user_terms(f"{path} cannot be run"), _imported_for_good():
        spec.loader.exec_module(module)
    return module


class _AsItStands(SourceFileLoader):
    """Compiles the file anew, as Python does for `python FILE.py`, and leaves no compiled one behind.

    A compiled one is told from the file by seconds and size, which an edit may leave as they are.
    """

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = self.source_to_code(self.get_data(self.path), self.path)
        return code


@contextmanager
def _imported_for_good() -> Iterator[None]:
    """Where frameworks are imported meanwhile, Python does not look through what they made for garbage.

    They make a million objects that stay to the end; looking through them takes as long as a short verdict.
    What is young is looked through, so that garbage of the file goes.
    """
    frameworks, before = {"torch", "jax"} - sys.modules.keys(), gc.get_threshold()
    if frameworks:
        gc.set_threshold(*SELDOM)
    try:
        yield
    finally:
        if gc.get_threshold() == SELDOM:  # the file has not chosen its own
            gc.set_threshold(*before)
        if frameworks & sys.modules.keys():
            gc.collect(0)
            gc.freeze()


def find(
    module: ModuleType, path: Path, name: str, kind: str, fits: Callable[[Any], bool]
) -> dict[str, Any]:
    """The objects that fit, by name: the one called `name`, or all of the file.

    Raises InputError where there is none.
    """
    found = {key: value for key, value in vars(module).items() if fits(value)}
    if not name and found:
        return found
    if name in found:
        return {name: found[name]}
    has = f"it has {', '.join(found)}" if found else f"it has no {kind} at its top level"
    if name and hasattr(module, name):
        given = type(getattr(module, name)).__name__
        raise InputError(f"{name} in {path} is of type {given}; expected a {kind}; {has}")
    if not name:
        raise InputError(
            f"{path} has no {kind} at its top level; expected NAME = {kind}(...) there"
        )
    raise InputError(f"{path} has no {kind} called {name}; {has}")


@contextmanager
def told_in_user_terms(what: str) -> Iterator[None]:
    """Turn an error that arises in the user's files into an InputError with only their frames.

    One that arises elsewhere passes as it is: it is a mistake of this project or of a framework.
    """
    try:
        yield
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        users = [frame for frame in frames if is_users_file(frame.filename)]
        last = "".join(traceback.format_exception_only(error)).rstrip()
        if not users and not isinstance(error, SyntaxError | ImportError):
            raise
        last = last if str(error) else error_text(error)
        shown = "".join(traceback.format_list(users)) + last
        raise InputError(f"{what}:\n{shown}") from error
