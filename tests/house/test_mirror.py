"""The twins mirror each other: same files, same public names, same signatures and defaults.

Read from the syntax trees, so it needs neither framework. What only one twin has, or has otherwise,
is a row of `DIFFERENCES` in `mirror_table.py` with its reason; a row that excuses nothing is an error.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from mirror_table import DIFFERENCES, ONLY_ONE

ROOT = Path(__file__).parents[2]
TWINS = ("pyro_impl", "numpyro_impl")

NORMALISED = [
    (r"\b(torch|jnp|jax|nn|nnx|pyro|numpyro|optax|td|dist)\.", ""),
    (r"\bTensor(s?)\b", r"Array\1"),
    (r"\bdevice\b(?!:)", "Device"),
    (r"\bSize\b", "tuple[int, ...]"),
    (r"\b(is_)?(py|numpy)ro\b", "framework"),
]


def normalised(source: str) -> str:
    for pattern, replacement in NORMALISED:
        source = re.sub(pattern, replacement, source)
    return source


def is_public(name: str) -> bool:
    return not name.startswith("_") or name in ("__init__", "__call__", "__all__")


def facts(body: list[ast.stmt], prefix: str = "") -> dict[str, str]:
    """Public name -> signature, annotation or value, in words that both frameworks share."""
    found = {}
    for node in body:
        if isinstance(node, ast.FunctionDef):
            name, text = node.name, f"({ast.unparse(node.args)}) -> {_source(node.returns)}"
        elif isinstance(node, ast.ClassDef):
            name, text = node.name, "class"
            if is_public(name):
                found |= facts(node.body, f"{name}.")
        elif isinstance(node, ast.AnnAssign):
            name = ast.unparse(node.target)
            text = f"{_source(node.annotation)} = {_source(node.value)}"
        elif isinstance(node, ast.Assign):
            name, text = ast.unparse(node.targets[0]), _source(node.value)
        else:
            continue
        if is_public(name):
            found[prefix + normalised(name)] = normalised(text)
    return found


def _source(node: ast.expr | None) -> str:
    return "" if node is None else ast.unparse(node)


def files(package: str) -> set[str]:
    root = ROOT / package
    return {
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def module_facts(package: str, module: str) -> dict[str, str]:
    """What is public in a module; `module` is dotted, below the package."""
    path = ROOT / package / f"{module.replace('.', '/')}.py"
    return facts(ast.parse(path.read_text()).body)


def differences() -> dict[tuple[str, str], tuple[str | None, str | None]]:
    found, shared = {}, files(TWINS[0]) & files(TWINS[1])
    for module in sorted(path[:-3].replace("/", ".") for path in shared if path.endswith(".py")):
        left, right = (module_facts(package, module) for package in TWINS)
        for name in left.keys() | right.keys():
            if left.get(name) != right.get(name):
                found[module, name] = left.get(name), right.get(name)
    return found


def explained(key, found):
    """Whether the table has the name, or the class that it is a member of and that only one twin has."""
    module, name = key
    whole = (module, name.partition(".")[0])
    return key in DIFFERENCES or (whole in DIFFERENCES and None in found.get(whole, ()))


def test_the_same_files():
    assert files(TWINS[0]) ^ files(TWINS[1]) == ONLY_ONE.keys()
    assert len(files(TWINS[0])) >= 12


def test_every_difference_is_in_the_table_and_every_row_is_a_difference():
    found = differences()
    same = sum(
        len(module_facts("pyro_impl", module))
        for module in ("programs.models", "programs.guides", "training.trainer")
    )
    assert same > 10  # or nothing was read
    unexplained = {key: both for key, both in found.items() if not explained(key, found)}
    assert unexplained == {}
    assert [key for key in DIFFERENCES if key not in found] == []
    assert all(len(reason.split()) > 2 for reason in DIFFERENCES.values())


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("def f(x: Tensor): ...", "def f(x: Array): ...", True),
        ("def f(x: Tensor) -> Tensor: ...", "def f(x: Array) -> Array: ...", True),
        ("def f(x=1): ...", "def f(x=2): ...", False),
        ("def f(x, y): ...", "def f(y, x): ...", False),
        ("def f(x, *, y): ...", "def f(x, y): ...", False),
        ("def f(x) -> int: ...", "def f(x) -> str: ...", False),
        (
            "def f(t: torch.dtype = torch.float32): ...",
            "def f(t: jnp.dtype = jnp.float32): ...",
            True,
        ),
        ("def f(t=torch.float32): ...", "def f(t=jnp.float64): ...", False),
        ("def f(): ...\ndef g(): ...", "def f(): ...", False),
        ("def _f(): ...", "", True),
        ("class A:\n    x: Tensor | None = None", "class A:\n    x: Array | None = None", True),
        ("class A:\n    x: int\n    y: int", "class A:\n    x: int", False),
        ("class A:\n    def m(self, x): ...", "class A:\n    def m(self): ...", False),
        ("A = {'a': 1}", "A = {'a': 2}", False),
        ("__all__ = ['a']", "__all__ = ['a', 'b']", False),
    ],
)
def test_the_comparison_sees(left, right, same):
    assert (facts(ast.parse(left).body) == facts(ast.parse(right).body)) == same
