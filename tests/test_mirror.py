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
EAGER = "Pyro runs eagerly too"
SCAN = "NumPyro's loop is compiled and maps over particles itself"
UNTRACEABLE = "Pyro's steps run eagerly where a program needs a value; JAX has no value to give"
STEPS = "Pyro's SVI takes single steps, each compiled and guarded; NumPyro's runs many in one loop"
HAND = "written by hand, each framework's own way; in JAX more than one form is worth comparing"
DEVICE = "JAX sets device and 64-bit types for a block of code, torch for every tensor"

CAPTURED = "torch changes a program's tensors in place, JAX needs the places that hold its arrays"
TRACED = "JAX traces the program, so what a run shows leaves it as a tree of arrays"
CHARTS = (
    "each framework has its own names of constraints; unlike torch's, JAX's maps change the shape"
)
OPERATIONS = (
    "torch's functions are listened to as they are called, JAX's are read from the traced program"
)
FAMILIES = "the frameworks implement these families by other classes"

# (module, name) -> why it is not the same in both; a class that only one twin has, with all its members
DIFFERENCES = {
    ("captured", "Borrowed"): CAPTURED,
    ("captured", "LIBRARIES"): "whose own arrays are no part of the user's program",
    ("captured", "Place"): CAPTURED,
    ("captured", "in_precision"): CAPTURED,
    ("captured", "names_of"): "Pyro's guards look at the names a function reads, too",
    ("captured", "tensors_of"): CAPTURED,
    ("charts", "SHARED"): CHARTS,
    ("charts", "SINGLE"): CHARTS,
    ("charts", "chart"): CHARTS,
    ("charts", "chart_gradient"): CHARTS,
    ("compiled_svi", "CompiledSVI.__init__"): STEPS,
    ("compiled_svi", "CompiledSVI.advance"): STEPS,
    ("compiled_svi", "CompiledSVI.prepared"): STEPS,
    ("compiled_svi", "CompiledSVI.run"): STEPS,
    ("compiled_svi", "CompiledSVI.run_many"): STEPS,
    ("compiled_svi", "CompiledSVI.step"): STEPS,
    ("compiled_svi", "EagerWarning"): STEPS,
    ("compiled_svi", "LOSSES"): STEPS,
    ("compiled_svi", "MOST_CHANGES"): STEPS,
    ("compiled_svi", "MOST_SHAPES"): STEPS,
    ("compiled_svi", "OURS"): "a warning of Pyro's names the first line that is not this package's",
    ("compiled_svi", "SMALLER"): STEPS,
    ("compiled_svi", "SVIRuns"): STEPS,
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
    ("execution", "Executed"): TRACED,
    ("execution", "Execution.__init__"): "NumPyro builds the program when it first runs",
    ("execution", "Execution.draw"): STATE,
    ("execution", "Execution.learn"): STATE,
    ("execution", "Execution.program"): STATE,
    (
        "execution",
        "Execution.reached",
    ): "Pyro scores a site after the program ran, NumPyro as it runs",
    ("execution", "Execution.run"): STATE,
    ("execution", "Sampled"): TRACED,
    ("execution", "Sites"): TRACED,
    ("failures", "UNTRACEABLE"): UNTRACEABLE,
    ("failures", "untraceable"): UNTRACEABLE,
    ("failures", "SCORING"): "functions of NumPyro whose frames know the site that is scored",
    ("inputs", "Inputs.args"): TRACED,
    ("inputs", "Inputs.arguments"): TRACED,
    ("inputs", "Inputs.arrays"): TRACED,
    ("inputs", "Inputs.kwargs"): TRACED,
    ("inputs", "Inputs.plain"): TRACED,
    ("inputs", "Inputs.structure"): TRACED,
    ("inputs", "split_inputs"): TRACED,
    ("inputs", "to_draws"): "NumPyro draws whole numbers, Pyro draws them as real ones",
    ("inputs", "to_leaf"): "JAX takes Python's numbers as they are, in whatever type meets them",
    ("learned", "Learned"): STATE,
    ("learned", "average_gradients"): STATE,
    ("learned", "give"): STATE,
    ("learned", "gradient_of"): STATE,
    ("learned", "learned"): STATE,
    ("learned", "learned_from"): STATE,
    ("bench", "MOST_COMPILED"): "torch counts how often one function is compiled, JAX does not",
    ("bench", "Stock.__init__"): "NumPyro's recipe has two fills, Pyro's two ELBOs and a device",
    ("handwritten", "FORMS"): HAND,
    ("handwritten", "LARGEST_ROWS"): HAND,
    ("handwritten", "encoder_params"): HAND,
    ("handwritten", "filled"): HAND,
    ("handwritten", "start"): HAND,
    ("triangle", "ROWS_LIMIT"): "row by row is what torch's compiler makes one loop of",
    ("item_blocks", "ValueAndGradient"): STATE,
    ("item_blocks", "backward"): STATE,
    ("item_blocks", "block_noise"): "NumPyro's loop draws the noise of a step before its blocks",
    ("item_blocks", "block_noise.__init__"): "NumPyro's loop draws the noise of a step first",
    ("item_blocks", "value_and_gradient"): STATE,
    ("noise", "base_noise.process_message"): LIFECYCLE,
    ("noise", "key_of"): "torch's generator takes a seed of 64 bits, JAX's keys are made of 32",
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
    ("operations", "IDLE"): OPERATIONS,
    ("operations", "OPTIONS"): OPERATIONS,
    ("operations", "Operations"): OPERATIONS,
    ("operations", "SITES"): OPERATIONS,
    ("operations", "described"): OPERATIONS,
    ("operations", "operations"): OPERATIONS,
    ("objectives", "trace_pair"): "Pyro's ELBO traces both programs itself",
    ("pairs", "Pair.max_plate_nesting"): "Pyro must be told where its plate of particles goes",
    ("pairs", "Pair.params"): STATE,
    ("pairs", "build"): DEVICE,
    (
        "path_elbo",
        "StickingTheLandingELBO.loss_with_mutable_state",
    ): "where NumPyro's ELBO is handed the guide; Pyro's has a private method for a pair of traces",
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
    (
        "program",
        "PACKAGES",
    ): "JAX's version is that of two packages, and flax and funsor are optional",
    ("reattach", "CONSTANT"): FAMILIES,
    ("reattach", "FORMS"): FAMILIES,
    ("reattach", "MOMENTS"): FAMILIES,
    ("reattach", "donate.__init__"): "Pyro's particles are a plate, NumPyro's a vmap",
    ("reattach", "donate.process_message"): LIFECYCLE,
    (
        "reattach",
        "drawn_dtype",
    ): "NumPyro draws whole numbers, and says of which type without drawing",
    ("session", "UNCONSTRAINED"): "only Pyro's AutoNormal samples an unconstrained site of its own",
    ("session", "WAYS"): "programs that JAX cannot trace are run operation by operation",
    ("sites", "DERIVED"): FAMILIES,
    ("sites", "TracedSite"): TRACED,
    ("sites", "arguments"): TRACED,
    ("sites", "log_prob"): TRACED,
    ("sites", "make_site"): TRACED,
    ("sites", "make_sites"): TRACED,
    ("sites", "partial_sites"): TRACED,
    ("sites", "plates_of"): TRACED,
    ("sites", "sample_nodes"): "Pyro's trace holds the draws of subsamples as sample sites",
    ("sites", "score"): TRACED,
    ("sites", "shapes"): TRACED,
    ("sites", "to_array"): TRACED,
    ("sites", "traced_site"): TRACED,
    ("sites", "traced_sites"): TRACED,
    ("svi_steps", "Parameters"): STEPS,
    ("svi_steps", "Step"): STEPS,
    ("svi_steps", "TorchOptim"): STEPS,
    ("svi_steps", "Update"): STEPS,
    ("svi_steps", "copied"): STEPS,
    ("svi_steps", "gradient_of"): STEPS,
    ("svi_steps", "gradients_of"): STEPS,
    ("svi_steps", "keys_and_rates"): STEPS,
    ("svi_steps", "leaves_of"): STEPS,
    ("svi_steps", "take_steps"): STEPS,
    ("svi_steps", "to_inputs"): STEPS,
    ("svi_steps", "unprepared"): STEPS,
}

# Files that only one twin has
PYROS_COMPILER = "JAX compiles by itself; Pyro's steps are captured, compiled and guarded here"
ONLY_ONE = {
    "adam.py": PYROS_COMPILER,
    "capture.py": PYROS_COMPILER,
    "comparison.py": PYROS_COMPILER,
    "guards.py": PYROS_COMPILER,
    "places.py": PYROS_COMPILER,
    "products.py": PYROS_COMPILER,
    "reads.py": PYROS_COMPILER,
    "signature.py": PYROS_COMPILER,
    "compilations.py": "torch keeps its compilations on disk by itself",
    "loop.py": "JAX's loop of steps is one compiled function",
}

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
    return facts(ast.parse((ROOT / package / f"{module}.py").read_text()).body)


def differences() -> dict[tuple[str, str], tuple[str | None, str | None]]:
    found, shared = {}, files(TWINS[0]) & files(TWINS[1])
    for module in sorted(path[:-3] for path in shared if path.endswith(".py")):
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
        len(module_facts("pyro_impl", module)) for module in ("models", "guides", "training")
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
