"""The twins mirror each other: same files, same public names, same signatures and defaults.

Read from the syntax trees, so it needs neither framework. What only one twin has, or has otherwise,
is a row of `DIFFERENCES` with its reason; a row that excuses nothing is an error.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TWINS = ("pyro_impl", "numpyro_impl")

STATE = "Pyro keeps parameters in a global store, NumPyro passes them and the random key along"
LIFECYCLE = "each framework names the method that it calls itself"
REMEMBERS = "NumPyro hands the noise to log_prob; in torch the distribution remembers its draw"
EAGER = "Pyro runs eagerly too, and has its SVI compiled for any program"
SCAN = "NumPyro's loop is compiled and maps over particles itself"
DEVICE = "JAX sets device and 64-bit types for a block of code, torch for every tensor"

# The recorder's inner rooms follow how each framework runs a program: one traces, one compiles.
RECORDER = {
    "captured",
    "charts",
    "execution",
    "failures",
    "inputs",
    "learned",
    "operations",
    "program",
    "reattach",
    "session",
    "sites",
}

# NumPyro compiles by itself; Pyro's steps are captured, compiled and guarded here.
ONLY_PYRO = {"captured.py"} | {
    f"{room}.py"
    for room in ("adam", "capture", "comparison", "compiled_svi", "guards", "signature")
}
ONLY_NUMPYRO = {"compilations.py", "loop.py"}

# (module, name) -> why it is not the same in both
DIFFERENCES = {
    ("device", "to_tensor"): DEVICE,
    ("device", "to_array"): DEVICE,
    ("device", "using"): DEVICE,
    ("encoder", "Encoder.forward"): LIFECYCLE,
    ("encoder", "Encoder.__call__"): LIFECYCLE,
    ("encoder", "Encoder.center"): "torch declares its buffers",
    ("encoder", "Encoder.spread"): "torch declares its buffers",
    ("encoder", "ExpertsEncoder.forward"): LIFECYCLE,
    ("encoder", "ExpertsEncoder.__call__"): LIFECYCLE,
    ("encoder", "diagonal_matrix"): "torch has diag_embed",
    ("estimators", "EstimatedELBO"): "only Pyro's ELBO is a class that brings its particles along",
    ("estimators", "EstimatedELBO.__init__"): "only Pyro's ELBO is a class",
    ("estimators", "Trace"): "a Pyro trace is an object, a NumPyro trace a dictionary",
    ("evaluate", "PARTICLES"): "Pyro's particles are a plate, NumPyro's a vmap",
    ("noise", "base_noise.process_message"): LIFECYCLE,
    ("noise", "push_forward"): REMEMBERS,
    ("normal", "MultivariateNormal.log_prob"): REMEMBERS,
    ("normal", "LowRankMultivariateNormal.log_prob"): REMEMBERS,
    (
        "normal",
        "PackedMultivariateNormal.expand",
    ): "a torch distribution knows how to expand itself",
    ("normal", "PackedMultivariateNormal.log_prob"): REMEMBERS,
    ("normal", "PackedMultivariateNormal.reparametrized_params"): "NumPyro asks for their names",
    (
        "normal",
        "PackedMultivariateNormal.scale_tril",
    ): "torch derives it from an attribute of its own",
    ("objectives", "Loss"): STATE,
    ("objectives", "negative_score"): STATE,
    ("objectives", "particle_losses"): SCAN,
    ("objectives", "map_particles"): SCAN,
    ("objectives", "trace_pair"): "Pyro's ELBO traces both programs itself",
    ("pairs", "Pair.max_plate_nesting"): "Pyro must be told where its plate of particles goes",
    ("pairs", "Pair.params"): STATE,
    ("pairs", "build"): DEVICE,
    ("params", "NativeParams"): STATE,
    ("training", "fit"): EAGER,
    ("training", "Step"): EAGER,
    ("training", "Trainer.__init__"): EAGER,
    ("training", "WORTHWHILE"): EAGER,
    ("__init__", "__all__"): EAGER,
    ("params", "to_native"): STATE,
    ("params", "to_neutral"): STATE,
    ("params", "leaves"): STATE,
    ("params", "load_encoder"): STATE,
    ("params", "neutral_name"): STATE,
}

NORMALISED = [
    (r"\b(torch|jnp|jax|nn|nnx|pyro|numpyro|optax)\.", ""),
    (r"\bTensor\b", "Array"),
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
            found[prefix + name] = normalised(text)
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
    return facts(ast.parse((ROOT / package / f"{module}.py").read_text()).body)


def differences() -> dict[tuple[str, str], tuple[str | None, str | None]]:
    found, shared = {}, files(TWINS[0]) & files(TWINS[1])
    for module in sorted(
        path[:-3] for path in shared if path.endswith(".py") and path[:-3] not in RECORDER
    ):
        left, right = (module_facts(package, module) for package in TWINS)
        for name in left.keys() | right.keys():
            if left.get(name) != right.get(name):
                found[module, name] = left.get(name), right.get(name)
    return found


def test_the_same_files():
    assert files(TWINS[0]) - files(TWINS[1]) <= ONLY_PYRO
    assert files(TWINS[1]) - files(TWINS[0]) <= ONLY_NUMPYRO
    assert len(files(TWINS[0])) >= 12


def test_every_difference_is_in_the_table_and_every_row_is_a_difference():
    found = differences()
    same = sum(
        len(module_facts("pyro_impl", module)) for module in ("models", "guides", "training")
    )
    assert same > 10  # or nothing was read
    unexplained = {key: both for key, both in found.items() if key not in DIFFERENCES}
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
