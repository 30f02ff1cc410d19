"""Who may import whom: read from the syntax trees, and seen in fresh interpreters.

equivalence_tests ──► pyro_impl ──► twinplate
                 └──► numpyro_impl ──► twinplate
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

TORCH_SIDE = {"torch", "pyro", "functorch"}
JAX_SIDE = {"jax", "jaxlib", "numpyro", "flax", "optax", "chex", "orbax"}
OURS = {"twinplate", "pyro_impl", "numpyro_impl", "equivalence_tests"}

# package -> what it never imports, and what it may import inside a function only
FORBIDDEN = {
    "twinplate": (TORCH_SIDE | JAX_SIDE | {"equivalence_tests"}, {"pyro_impl", "numpyro_impl"}),
    "pyro_impl": (JAX_SIDE | {"numpyro_impl", "equivalence_tests"}, set()),
    "numpyro_impl": (TORCH_SIDE | {"pyro_impl", "equivalence_tests"}, set()),
}
# package -> top-level packages it must be seen to import (or the scan reads nothing)
REQUIRED = {
    "twinplate": {"numpy", "twinplate"},
    "pyro_impl": {"torch", "pyro", "twinplate"},
    "numpyro_impl": {"jax", "numpyro", "flax", "optax", "twinplate"},
}


def imports(source: str) -> set[tuple[str, bool]]:
    """(top-level package, inside a function?) of every import in `source`."""
    found = set()

    def visit(node: ast.AST, inside: bool) -> None:
        if isinstance(node, ast.Import):
            found.update((alias.name.split(".")[0], inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((str(node.module).split(".")[0], inside))
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
            ("import_module", "__import__", "importorskip")
        ):
            names = [a.value for a in node.args if isinstance(a, ast.Constant)]
            found.update((str(name).split(".")[0], inside) for name in names)
        inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            visit(child, inside)

    visit(ast.parse(source), False)
    return found


def violations(package: str, source: str) -> set[str]:
    """Forbidden imports of a module of `package`."""
    never, inside_only = FORBIDDEN[package]
    return {
        name
        for name, inside in imports(source)
        if name in never or (name in inside_only and not inside)
    }


def sources(package: str) -> dict[str, str]:
    root = Path(importlib.import_module(package).__file__).parent
    return {str(path.relative_to(root)): path.read_text() for path in sorted(root.rglob("*.py"))}


@pytest.mark.parametrize("package", FORBIDDEN)
def test_no_module_imports_against_the_arrows(package):
    found = {path: violations(package, source) for path, source in sources(package).items()}
    assert {path: names for path, names in found.items() if names} == {}
    seen = {name for source in sources(package).values() for name, _ in imports(source)}
    assert seen >= REQUIRED[package] and len(found) >= 10


@pytest.mark.parametrize(
    ("package", "source", "expected"),
    [
        ("twinplate", "import torch", {"torch"}),
        ("twinplate", "def f():\n    from jax.numpy import ones", {"jax"}),
        ("twinplate", "def f():\n    import pyro_impl", set()),
        ("twinplate", "from pyro_impl.programs.assembly import build", {"pyro_impl"}),
        ("twinplate", "if True:\n    import numpyro_impl", {"numpyro_impl"}),
        ("twinplate", "class A:\n    import numpyro_impl", {"numpyro_impl"}),
        ("twinplate", "m = importlib.import_module('torch.nn')", {"torch"}),
        ("twinplate", "import torchless, jaxon, pyrotechnics", set()),
        ("twinplate", "from . import torch", set()),
        ("pyro_impl", "import numpy, optax as o", {"optax"}),
        (
            "pyro_impl",
            "async def f():\n    import numpyro_impl.programs.assembly",
            {"numpyro_impl"},
        ),
        ("pyro_impl", "from equivalence_tests import cases", {"equivalence_tests"}),
        ("numpyro_impl", "try:\n    import torch\nexcept ImportError:\n    pass", {"torch"}),
        ("numpyro_impl", "import pyro.distributions as dist", {"pyro"}),
        ("numpyro_impl", "import numpyro.distributions as dist", set()),
    ],
)
def test_the_scan_sees(package, source, expected):
    assert violations(package, source) == expected


def fresh(*lines: str) -> list[str]:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error::ImportWarning", "-c", "\n".join(lines)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


LOADED = "import sys; print(*sorted({name.split('.')[0] for name in sys.modules}))"


def modules(package: str) -> list[str]:
    found = importlib.import_module(package)
    return [package] + [
        info.name
        for info in pkgutil.walk_packages(found.__path__, f"{package}.")
        if not info.name.endswith("__main__")
    ]


@pytest.mark.parametrize("package", FORBIDDEN)
def test_importing_every_module_loads_nothing_forbidden(package):
    loaded = set(fresh(*(f"import {name}" for name in modules(package)), LOADED))
    never, inside_only = FORBIDDEN[package]
    assert not loaded & (never | inside_only)
    assert loaded >= REQUIRED[package] - {"optax"}


def test_importing_numpyro_impl_touches_no_device():
    """No array, and not even a backend: the user can still choose one."""
    printed = fresh(
        *(f"import {name}" for name in modules("numpyro_impl")),
        "from jax._src import xla_bridge",
        "import jax",
        "print(len(xla_bridge._backends), jax.config.jax_enable_x64, len(jax.live_arrays()))",
    )
    assert printed == ["0", "False", "0"]


def test_importing_pyro_impl_changes_no_setting_of_torch():
    printed = fresh(
        "import torch, pyro",
        "settings = lambda: (torch.get_default_dtype(), torch.is_grad_enabled(), "
        "torch.get_num_threads(), torch.initial_seed(), len(pyro.get_param_store()))",
        "before = settings()",
        *(f"import {name}" for name in modules("pyro_impl")),
        "print(settings() == before, torch.cuda.is_initialized())",
    )
    assert printed == ["True", "False"]
