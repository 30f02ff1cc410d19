"""Who may import whom: the linter's contracts, the syntax trees, and fresh interpreters.

equivalence_tests ──► pyro_impl ──► twinplate
                 └──► numpyro_impl ──► twinplate

The contracts, in pyproject.toml, order the wings of each package.
"""

from __future__ import annotations

import ast
import functools
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
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
    root = ROOT / package
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


def modules(package: str) -> list[str]:
    paths = [(ROOT / package / path).relative_to(ROOT) for path in sources(package)]
    dotted = [".".join(path.with_suffix("").parts) for path in paths]
    return [name.removesuffix(".__init__") for name in dotted]


# package -> lines before the import of all its modules, and lines after it that print what it touched
TOUCHED = {
    "twinplate": ([], []),
    "pyro_impl": (
        [
            "import torch, pyro",
            "settings = lambda: (torch.get_default_dtype(), torch.is_grad_enabled(), "
            "torch.get_num_threads(), torch.initial_seed(), len(pyro.get_param_store()))",
            "before = settings()",
        ],
        ["print(settings() == before, torch.cuda.is_initialized())"],
    ),
    "numpyro_impl": (
        [],
        [
            "from jax._src import xla_bridge",
            "import jax",
            "print(len(xla_bridge._backends), jax.config.jax_enable_x64, len(jax.live_arrays()))",
        ],
    ),
}


@pytest.fixture(scope="module")
def fresh():
    """Package -> (packages loaded, what it touched), as a fresh interpreter prints after all its imports."""
    return functools.cache(imported)


def imported(package: str) -> tuple[set[str], list[str]]:
    before, after = TOUCHED[package]
    loaded = "import sys; print(*{name.split('.')[0] for name in sys.modules})"
    lines = [*before, *(f"import {name}" for name in modules(package)), loaded, *after]
    done = subprocess.run(
        [sys.executable, "-W", "error::ImportWarning", "-c", "\n".join(lines)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, *rest = done.stdout.splitlines()
    return set(first.split()), rest


@pytest.mark.xdist_group("imports")
@pytest.mark.parametrize("package", FORBIDDEN)
def test_importing_every_module_loads_nothing_forbidden(package, fresh):
    loaded, _ = fresh(package)
    never, inside_only = FORBIDDEN[package]
    assert not loaded & (never | inside_only)
    assert loaded >= REQUIRED[package] - {"optax"}


def test_the_command_line_starts_without_what_few_commands_need():
    """SciPy loads its parts when they are used; frameworks and pictures belong to single commands."""
    loaded = "import sys; import twinplate.cli; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", loaded], capture_output=True, text=True, check=True
    )
    late = {"scipy.optimize", "scipy.special", "scipy.stats", "matplotlib", "pyarrow", "sklearn"}
    late |= {"torch", "jax", "pandas", "xarray"}
    assert not late & set(done.stdout.split())


@pytest.mark.parametrize(
    ("package", "late"),
    [
        ("pyro_impl", {"torch._dynamo", "torch._inductor", "sympy"}),
        ("numpyro_impl", {"flax", "optax"}),
    ],
)
def test_a_program_to_verify_is_imported_without_what_training_needs(package, late):
    code = f"import sys; from {package} import Program; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not late & set(done.stdout.split())


def test_a_verdict_on_a_program_of_pyro_does_not_import_torchs_compiler():
    """Which takes half a second, as long as all the rest of it."""
    code = """
import sys
import pyro, torch
from pyro.distributions import Normal
from pyro_impl import PackedMultivariateNormal, Program
from twinplate.verification.recording import record

def model():
    with pyro.plate("items", 3):
        a = pyro.sample("a", Normal(0.0, 1.0).expand([3, 2]).to_event(1))
        pyro.sample("x", Normal(a.sum(-1), 1.0), obs=torch.zeros(3))

def guide():
    with pyro.plate("items", 3):
        normal = PackedMultivariateNormal(torch.zeros(2), torch.ones(2), torch.zeros(1))
        pyro.sample("a", normal)

record(Program(model, guide))
print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch._dynamo", "torch._inductor", "sympy"} & set(done.stdout.split())


@pytest.mark.parametrize("package", FORBIDDEN)
def test_public_names_are_those_that_the_module_of_them_lists(package):
    module, public = import_module(package), import_module(f"{package}.public")
    assert sorted(public.__all__) == module.__all__ and {*public.__all__} <= {*dir(module)}
    for name in public.__all__:
        assert getattr(module, name) is getattr(public, name)
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'"):
        module.nothing  # noqa: B018


@pytest.mark.xdist_group("imports")
def test_importing_numpyro_impl_touches_no_device(fresh):
    """No array, and not even a backend: the user can still choose one."""
    assert fresh("numpyro_impl")[1] == ["0 False 0"]


@pytest.mark.xdist_group("imports")
def test_importing_pyro_impl_changes_no_setting_of_torch(fresh):
    assert fresh("pyro_impl")[1] == ["True False"]


def kept(root: Path) -> dict[str, bool]:
    """Contract -> whether the packages below `root` keep it."""
    lint = "from importlinter.cli import lint_imports; lint_imports(no_cache=True, no_logo=True)"
    done = subprocess.run(
        [sys.executable, "-c", lint], cwd=root, capture_output=True, text=True, check=False
    )
    found = re.findall(r"^(.+) (KEPT|BROKEN)\b", done.stdout, re.MULTILINE)
    assert found, done.stdout + done.stderr
    return {name: verdict == "KEPT" for name, verdict in found}


def contracts() -> list[str]:
    """Names of all contracts."""
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    return [contract["name"] for contract in linter["contracts"]]


def test_every_contract_is_kept():
    assert kept(ROOT) == dict.fromkeys(contracts(), True)


# file -> an import that must not be there; together they break every contract
PLANTED = {
    "twinplate/data/blocks.py": "import twinplate.training.plan",
    "twinplate/errors.py": "import numpyro_impl.device",
    "pyro_impl/programs/models.py": "import pyro_impl.training.trainer",
    "pyro_impl/device.py": "import jax, numpyro_impl",
    "numpyro_impl/device.py": "import torch",
    "equivalence_tests/pairs/mixture.py": "import equivalence_tests.mutation.mistake_report",
    "twinplate/programs/config.py": "import torch",
}


def test_every_contract_can_be_broken(tmp_path):
    for package in sorted(OURS):
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for path, line in PLANTED.items():
        with (tmp_path / path).open("a") as file:
            file.write(f"\n{line}\n")
    assert kept(tmp_path) == dict.fromkeys(contracts(), False)
