"""Whose code is this: the user's, an installed package's, the standard library's or this project's?

Asked wherever an error or a warning names a line, and wherever a program is searched for what it reads:
users know their own code, and only that is theirs to change. The answer comes from where the interpreter
keeps its packages and its library, never from a part of a path: `~/lib/python/port.py` is the user's.
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
import traceback
import types
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

Owner = Literal["user", "package", "standard library", "project"]

PROJECT = frozenset({"twinplate", "pyro_impl", "numpyro_impl"})
# Its programs are there to be verified, as a user's are, also where the suite itself is installed.
PROGRAMS = frozenset({"equivalence_tests"})
# Packages that stay packages where they are installed from a folder of sources.
FRAMEWORKS = frozenset(
    {"torch", "pyro", "jax", "jaxlib", "numpyro", "flax", "optax", "funsor", "numpy", "scipy"}
)
# Names of code that was typed in a console, a notebook or a docstring; `python -c` calls it <string>.
TYPED = ("<stdin>", "<string>", "<python-input", "<ipython-input", "<doctest ")


def _folders(paths: Iterable[str | Path | None]) -> tuple[str, ...]:
    """As they are and resolved: a frame names its file by the path that it was imported from."""
    known = [str(path) for path in paths if path is not None]
    return tuple(f"{path}{os.sep}" for path in {*known, *map(os.path.realpath, known)})


ROOT = Path(__file__).parents[1]
OF_PROGRAMS = _folders(ROOT / name for name in PROGRAMS)
OF_PROJECT = _folders(ROOT / name for name in PROJECT)
OF_PACKAGES = _folders(
    [
        *(sysconfig.get_path(name) for name in ("purelib", "platlib")),
        *site.getsitepackages(),
        site.getusersitepackages(),
    ]
)
OF_STANDARD_LIBRARY = _folders(sysconfig.get_path(name) for name in ("stdlib", "platstdlib"))


def owner_of_file(filename: str) -> Owner:
    """Whose code is in this file, named as in `frame.f_code.co_filename`.

    >>> owner_of_file("/home/me/lib/python/site-packages.py"), owner_of_file("<frozen importlib>")
    ('user', 'standard library')
    """
    if filename.startswith("<"):
        if filename.startswith(TYPED):
            return "user"
        return "standard library" if filename.startswith("<frozen ") else "package"
    if filename.startswith(OF_PROGRAMS):
        return "user"
    if filename.startswith(OF_PROJECT):
        return "project"
    # In this order: where nothing is virtual, packages lie inside the folder of the standard library.
    if filename.startswith(OF_PACKAGES) or filename.startswith(_of_frameworks()):
        return "package"
    return "standard library" if filename.startswith(OF_STANDARD_LIBRARY) else "user"


def owner_of_module(name: str | None) -> Owner:
    """Whose code is in the module of this name; of one that was never imported, by its name alone.

    >>> owner_of_module("numpy.linalg"), owner_of_module("builtins"), owner_of_module("__main__")
    ('package', 'standard library', 'user')
    """
    top = top_level(name)
    if top in PROJECT:
        return "project"
    if top in FRAMEWORKS:
        return "package"
    if top in PROGRAMS or top == "__main__":
        return "user"
    file = getattr(sys.modules.get(name or ""), "__file__", None)
    if file is not None:  # before the name: a user's own `statistics.py` is no standard library
        return owner_of_file(file)
    return "standard library" if top in sys.stdlib_module_names else "user"


def top_level(name: str | None) -> str:
    """The package of a module, "builtins" without a name: C functions need not have one."""
    return (name or "builtins").split(".")[0]


def is_users_file(filename: str) -> bool:
    """Whether the user wrote this file."""
    return owner_of_file(filename) == "user"


def error_text(error: BaseException) -> str:
    """The class and text of an error; without a text, the line that raised it.

    >>> error_text(ValueError("no")), error_text(AssertionError())
    ('ValueError: no', 'AssertionError')
    """
    name, text = type(error).__name__, str(error).strip()
    frames = traceback.extract_tb(error.__traceback__)
    if text or not frames:
        return f"{name}: {text}".removesuffix(": ")
    last = frames[-1]
    file = next(
        (last.filename.removeprefix(f) for f in OF_PACKAGES if last.filename.startswith(f)),
        last.filename,
    )
    return f"{name}, without a text, raised by {last.line!r} ({file}:{last.lineno})"


def names_of(function: types.FunctionType) -> list[str]:
    """Names of globals and attributes in a function's code, and in the functions inside it.

    >>> names_of(lambda x: [math.log(y) for y in x])
    ['math', 'log']
    """
    codes: list[types.CodeType] = [function.__code__]
    names: dict[str, None] = {}
    for code in codes:  # grows: comprehensions and inner functions have code of their own
        names |= dict.fromkeys(code.co_names)
        codes += [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return list(names)


def _of_frameworks() -> tuple[str, ...]:
    """Folders of the frameworks that are imported now."""
    files = (getattr(sys.modules.get(name), "__file__", None) for name in sorted(FRAMEWORKS))
    return tuple(f"{os.path.dirname(file)}{os.sep}" for file in files if file)


def is_called_by(kind: type) -> bool:
    """Whether a method of an object of this kind is being run, however far above this is.

    For a loss that is wrong for some programs: a program does not know who has called it. Slow; ask where it
    matters alone.
    """
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        if isinstance(frame.f_locals.get("self"), kind):
            return True
        frame = frame.f_back
    return False


def warn_user(message: str, category: type[Warning]) -> None:
    """Warn at the line of the user's that led here, however deep below it this is."""
    frame, level = sys._getframe(1), 2
    while frame.f_back and not is_users_file(frame.f_code.co_filename):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
