"""The twins mirror each other: same files, same public names, same signatures and defaults.

Read from the syntax trees, so it needs neither framework. What only one twin has, or has otherwise,
is a row of `DIFFERENCES` with its reason; a row that excuses nothing is an error.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TWINS = ("pyro_impl", "numpyro_impl")

STATE = "Pyro keeps parameters in a global store, NumPyro passes them and the random key along"
LIFECYCLE = "each framework names the method that it calls itself"
REMEMBERS = "NumPyro hands the noise to log_prob; in torch the distribution remembers its draw"
EAGER = "Pyro runs eagerly too"
SCAN = "NumPyro's loop is compiled and maps over particles itself"
UNTRACEABLE = "Pyro's steps run eagerly where a program needs a value; JAX has no value to give"
STEPS = "Pyro's SVI takes single steps, each compiled and guarded; NumPyro's runs many in one loop"
HAND = "written by hand, each framework's own way; in JAX more than one form is worth comparing"
FAULTS = "each framework gets its own losses wrong, in its own way"
SHOWN_TRACES = (
    "Pyro's losses take their traces by a method; NumPyro's SVI runs the programs themselves"
)
IN_PLACE = "what is usual of gradients torch changes in place, JAX hands on"
DEVICE = "JAX sets device and 64-bit types for a block of code, torch for every tensor"

BORROWED = (
    "torch changes a program's tensors in place; arrays are exchanged in the places that hold them"
)
TRACED = "JAX traces the program, so what a run shows leaves it as a tree of arrays"
CONSTRAINTS = (
    "each framework has its own names of constraints; unlike torch's, JAX's maps change the shape"
)
OPERATIONS = (
    "torch's functions are listened to as they are called, JAX's are read from the traced program"
)
FAMILIES = "the frameworks implement these families by other classes"

# (module, name) -> why it is not the same in both; a class that only one twin has, with all its members
DIFFERENCES = {
    ("recording.borrowed", "Borrowed"): BORROWED,
    ("reachable", "tensors_of"): BORROWED,
    ("recording.constraints", "SHARED"): CONSTRAINTS,
    ("recording.constraints", "SINGLE"): CONSTRAINTS,
    ("recording.constraints", "transforms_of"): CONSTRAINTS,
    ("recording.constraints", "unconstrained_gradient"): CONSTRAINTS,
    ("compiled.clipping", "Clip"): IN_PLACE,
    ("compiled.clipping", "Sizes"): IN_PLACE,
    ("compiled.clipping", "clip"): IN_PLACE,
    ("compiled.steadied", "Call"): STEPS,
    ("compiled.steadied", "SteadiedOptim"): STEPS,
    ("compiled.steadied", "Steady"): STEPS,
    ("compiled.steadied", "SteadySteps"): STEPS,
    ("compiled.steadied", "limits_of"): STEPS,
    ("compiled.steadied", "with_limits"): STEPS,
    ("compiled.svi", "CompiledSVI.__init__"): STEPS,
    ("compiled.svi", "CompiledSVI.notes"): STEPS,
    ("compiled.svi", "CompiledSVI.advance"): STEPS,
    ("compiled.svi", "CompiledSVI.init"): STEPS,
    ("compiled.svi", "CompiledSVI.prepared"): STEPS,
    ("compiled.svi", "CompiledSVI.run"): STEPS,
    ("compiled.svi", "CompiledSVI.run_many"): STEPS,
    ("compiled.svi", "CompiledSVI.step"): STEPS,
    ("compiled.svi", "MOST_CHANGES"): STEPS,
    ("compiled.svi", "MOST_SHAPES"): STEPS,
    ("compiled.svi", "SMALLER"): STEPS,
    ("compiled.svi", "SVIRuns"): STEPS,
    ("guides.automatic", "AutoAmortizedNormal.__call__"): LIFECYCLE,
    (
        "guides.automatic",
        "AutoAmortizedNormal.__init__",
    ): "torch has a type of modules, flax has two",
    ("guides.automatic", "AutoAmortizedNormal.forward"): LIFECYCLE,
    ("guides.automatic", "AutoAmortizedNormal.get_posterior"): STATE,
    ("guides.automatic", "AutoAmortizedNormal.median"): STATE,
    ("guides.automatic", "AutoAmortizedNormal.quantiles"): STATE,
    ("guides.automatic", "AutoAmortizedNormal.sample_posterior"): STATE,
    ("guides.automatic", "Encoder"): "torch has a type of modules, flax has two",
    ("guides.head", "amortized_numbers"): STATE,
    ("guides.head", "own_numbers"): STATE,
    ("guides.head", "positive"): "JAX's own softplus is exact",
    ("guides.reading", "Reading.given_indices"): "only Pyro's plates are given indices",
    ("guides.reading", "Reading.median"): STATE,
    ("guides.reading", "Reading.priors"): "Pyro's distributions with shapes are TorchDistributions",
    ("guides.joint", "Delta"): "NumPyro's own divergence of a Delta has its log density",
    ("guides.joint", "MendedDeltas"): "NumPyro's own divergence of a Delta has its log density",
    ("guides.prediction", "predict"): STATE,
    ("guides.joint", "joint_sample"): "Pyro's distributions with shapes are TorchDistributions",
    ("device", "to_tensor"): DEVICE,
    ("device", "to_array"): DEVICE,
    ("device", "using"): DEVICE,
    ("programs.encoder", "Encoder.forward"): LIFECYCLE,
    ("programs.encoder", "Encoder.__call__"): LIFECYCLE,
    ("programs.encoder", "Encoder.center"): "torch declares its buffers",
    ("programs.encoder", "Encoder.spread"): "torch declares its buffers",
    ("programs.encoder", "Encoder.units"): "torch declares its buffers",
    ("programs.encoder", "Encoder.width"): "torch declares its buffers",
    ("programs.encoder", "ExpertsEncoder.forward"): LIFECYCLE,
    ("programs.encoder", "ExpertsEncoder.__call__"): LIFECYCLE,
    ("programs.encoder", "diagonal_matrix"): "torch has diag_embed",
    (
        "objectives.estimators",
        "EstimatedELBO",
    ): "only Pyro's ELBO is a class that brings its particles along",
    ("objectives.estimators", "EstimatedELBO.__init__"): "only Pyro's ELBO is a class",
    ("objectives.estimators", "Trace"): "a Pyro trace is an object, a NumPyro trace a dictionary",
    ("objectives.loss_faults", "FAULTY"): FAULTS,
    ("objectives.loss_faults", "Trace"): "a Pyro trace is an object, a NumPyro trace a dictionary",
    ("objectives.loss_faults", "Traced"): SHOWN_TRACES,
    ("objectives.loss_faults", "Traced.__call__"): SHOWN_TRACES,
    ("objectives.loss_faults", "Traced.__init__"): SHOWN_TRACES,
    ("objectives.loss_faults", "kept_traces"): SHOWN_TRACES,
    ("recording.execution", "Executed"): TRACED,
    ("recording.execution", "Execution.__init__"): "NumPyro builds the program when it first runs",
    ("recording.execution", "Execution.draw"): STATE,
    ("recording.execution", "Execution.find_parameters"): STATE,
    ("recording.execution", "Execution.program"): STATE,
    (
        "recording.execution",
        "Execution.reached",
    ): "Pyro scores a site after the program ran, NumPyro as it runs",
    ("recording.execution", "Execution.run"): STATE,
    ("recording.execution", "Sampled"): TRACED,
    ("recording.execution", "Sites"): TRACED,
    ("failures", "UNTRACEABLE"): UNTRACEABLE,
    ("failures", "untraceable"): UNTRACEABLE,
    ("failures", "SCORING"): "functions of NumPyro whose frames know the site that is scored",
    ("arguments", "Inputs.args"): TRACED,
    ("arguments", "Inputs.arguments"): TRACED,
    ("arguments", "Inputs.arrays"): TRACED,
    ("arguments", "Inputs.kwargs"): TRACED,
    ("arguments", "Inputs.plain"): TRACED,
    ("arguments", "Inputs.structure"): TRACED,
    ("arguments", "split_inputs"): TRACED,
    ("arguments", "to_draws"): "NumPyro draws whole numbers, Pyro draws them as real ones",
    ("arguments", "to_leaf"): "JAX takes Python's numbers as they are, in whatever type meets them",
    ("recording.parameters", "DeclaredParameters"): STATE,
    ("recording.parameters", "average_gradients"): STATE,
    ("recording.parameters", "give"): STATE,
    ("recording.parameters", "gradient_of"): STATE,
    ("recording.parameters", "recorded_parameters"): STATE,
    ("recording.parameters", "declared_parameters"): STATE,
    (
        "bench.routes",
        "MOST_COMPILED",
    ): "torch counts how often one function is compiled, JAX does not",
    (
        "bench.stock",
        "Stock.__init__",
    ): "NumPyro's recipe has two fills, Pyro's two ELBOs and a device",
    ("bench.stock", "quiet"): "only torch's tracer warns of what it takes for a constant",
    ("bench.handwritten", "FORMS"): HAND,
    ("bench.handwritten", "LARGEST_ROWS"): HAND,
    ("bench.handwritten", "encoder_params"): HAND,
    ("bench.handwritten", "filled"): HAND,
    ("bench.handwritten", "start"): HAND,
    ("programs.triangle", "ROWS_LIMIT"): "row by row is what torch's compiler makes one loop of",
    ("objectives.item_blocks", "ValueAndGradient"): STATE,
    ("objectives.item_blocks", "backward"): STATE,
    (
        "objectives.item_blocks",
        "block_noise",
    ): "NumPyro's loop draws the noise of a step before its blocks",
    (
        "objectives.item_blocks",
        "block_noise.__init__",
    ): "NumPyro's loop draws the noise of a step first",
    ("objectives.item_blocks", "value_and_gradient"): STATE,
    ("programs.noise", "base_noise.process_message"): LIFECYCLE,
    (
        "programs.noise",
        "key_of",
    ): "torch's generator takes a seed of 64 bits, JAX's keys are made of 32",
    ("programs.noise", "push_forward"): REMEMBERS,
    ("programs.normal", "MultivariateNormal.log_prob"): REMEMBERS,
    ("programs.normal", "LowRankMultivariateNormal.log_prob"): REMEMBERS,
    (
        "programs.normal",
        "PackedMultivariateNormal.expand",
    ): "a torch distribution knows how to expand itself",
    ("programs.normal", "PackedMultivariateNormal.log_prob"): REMEMBERS,
    (
        "programs.normal",
        "PackedMultivariateNormal.reparametrized_params",
    ): "NumPyro asks for their names",
    (
        "programs.normal",
        "PackedMultivariateNormal.scale_tril",
    ): "torch derives it from an attribute of its own",
    ("objectives.losses", "Loss"): STATE,
    ("objectives.losses", "negative_score"): STATE,
    ("objectives.losses", "particle_losses"): SCAN,
    ("objectives.losses", "map_particles"): SCAN,
    ("recording.operations", "IDLE"): OPERATIONS,
    ("recording.operations", "OPTIONS"): OPERATIONS,
    ("recording.operations", "Operations"): OPERATIONS,
    ("recording.operations", "SITES"): OPERATIONS,
    ("recording.operations", "described"): OPERATIONS,
    ("recording.operations", "operations"): OPERATIONS,
    ("objectives.losses", "trace_pair"): "Pyro's ELBO traces both programs itself",
    (
        "programs.assembly",
        "Pair.max_plate_nesting",
    ): "Pyro must be told where its plate of particles goes",
    ("programs.assembly", "Pair.params"): STATE,
    ("programs.assembly", "build"): DEVICE,
    (
        "objectives.sticking_the_landing",
        "StickingTheLandingELBO.loss_with_mutable_state",
    ): "where NumPyro's ELBO is handed the guide; Pyro's has a private method for a pair of traces",
    ("programs.parameters", "NativeParams"): STATE,
    ("programs.parameters", "nested"): STATE,
    ("training.carry", "Carry.average"): STATE,
    ("training.carry", "Carry.clip"): IN_PLACE,
    ("training.carry", "Carry.leaves"): STATE,
    ("training.carry", "Carry.moments"): STATE,
    ("training.carry", "Carry.optimizer"): STATE,
    ("training.carry", "Carry.params"): STATE,
    (
        "training.carry",
        "Carry.rewinding",
    ): "torch changes a state in place, JAX keeps the one before",
    ("training.carry", "Carry.set_rate"): "optax leaves the learning rate to the loop",
    ("training.carry", "Carry.start_clip"): IN_PLACE,
    ("training.carry", "Carry.step"): "Adam's state in optax counts the steps",
    (
        "training.carry",
        "Carry.take_into_average",
    ): "NumPyro's loop takes them in while it is compiled",
    ("training.carry", "Carry.tensors"): "torch changes a state in place, JAX's is a tree",
    ("training.carry", "to_carry"): STATE,
    ("training.trainer", "fit"): EAGER,
    ("training.trainer", "Step"): EAGER,
    ("training.trainer", "Trainer.__init__"): EAGER,
    ("__init__", "__all__"): EAGER,
    ("programs.parameters", "to_native"): STATE,
    ("programs.parameters", "to_neutral"): STATE,
    ("programs.parameters", "leaves"): STATE,
    ("programs.parameters", "load_encoder"): STATE,
    ("programs.parameters", "neutral_name"): STATE,
    (
        "recording.program",
        "PACKAGES",
    ): "JAX's version is that of two packages, and flax and funsor are optional",
    ("recording.replay", "CONSTANT"): FAMILIES,
    ("recording.replay", "FORMS"): FAMILIES,
    ("recording.replay", "MOMENTS"): FAMILIES,
    ("recording.replay", "replay_draws.__init__"): "Pyro's particles are a plate, NumPyro's a vmap",
    ("recording.replay", "replay_draws.process_message"): LIFECYCLE,
    (
        "recording.replay",
        "drawn_dtype",
    ): "NumPyro draws whole numbers, and says of which type without drawing",
    (
        "recording.session",
        "UNCONSTRAINED",
    ): "only Pyro's AutoNormal samples an unconstrained site of its own",
    ("recording.session", "WAYS"): "programs that JAX cannot trace are run operation by operation",
    ("recording.execution", "CIRCLE"): "the support of an angle is the real line in Pyro",
    ("recording.sites", "CIRCULAR"): "the support of an angle is the real line in Pyro",
    ("recording.sites", "DERIVED"): FAMILIES,
    ("recording.sites", "TracedSite"): TRACED,
    ("recording.sites", "arguments"): TRACED,
    ("recording.sites", "log_prob"): TRACED,
    ("recording.sites", "make_site"): TRACED,
    ("recording.sites", "make_sites"): TRACED,
    ("recording.sites", "partial_sites"): TRACED,
    ("recording.sites", "plates_of"): TRACED,
    (
        "recording.sites",
        "sample_nodes",
    ): "Pyro's trace holds the draws of subsamples as sample sites",
    ("recording.sites", "score"): TRACED,
    ("recording.sites", "shapes"): TRACED,
    ("recording.sites", "to_array"): TRACED,
    ("recording.sites", "traced_site"): TRACED,
    ("recording.sites", "traced_sites"): TRACED,
    ("compiled.steps", "Parameters"): STEPS,
    ("compiled.steps", "Step"): STEPS,
    ("compiled.steps", "TorchOptim"): STEPS,
    ("compiled.steps", "CompiledStep"): STEPS,
    ("compiled.steps", "Update"): STEPS,
    ("compiled.steps", "copied"): STEPS,
    ("compiled.steps", "keys_and_rates"): STEPS,
    ("compiled.steps", "gradient_of"): STEPS,
    ("compiled.steps", "leaves_of"): STEPS,
    ("compiled.steps", "take_steps"): STEPS,
    ("compiled.steps", "to_inputs"): STEPS,
    ("compiled.steps", "unprepared"): STEPS,
}

# Files that only one twin has
PYROS_COMPILER = "JAX compiles by itself; Pyro's steps are captured, compiled and guarded here"
ONLY_ONE = {
    "compiled/adam.py": PYROS_COMPILER,
    "capturing.py": PYROS_COMPILER,
    "compiled/calls.py": PYROS_COMPILER,
    "compiled/capture.py": PYROS_COMPILER,
    "compiled/cleaning.py": PYROS_COMPILER,
    "compiled/lowering.py": PYROS_COMPILER,
    "compiled/replaying.py": PYROS_COMPILER,
    "compiled/errors.py": PYROS_COMPILER,
    "compiled/graph.py": PYROS_COMPILER,
    "compiled/compilation.py": PYROS_COMPILER,
    "compiled/building.py": PYROS_COMPILER,
    "compiled/cross_check.py": PYROS_COMPILER,
    "compiled/agreement.py": PYROS_COMPILER,
    "compiled/guards.py": PYROS_COMPILER,
    "compiled/guarded_places.py": PYROS_COMPILER,
    "compiled/onednn.py": PYROS_COMPILER,
    "compiled/sources.py": PYROS_COMPILER,
    "compiled/cache_key.py": PYROS_COMPILER,
    "torch_private.py": "what is private in torch, in one place; of JAX no private part is used",
    "compilation_cache.py": "torch keeps its compilations on disk by itself",
    "recording/integers.py": "torch's whole numbers are int64 in either precision",
    "training/loop.py": "JAX's loop of steps is one compiled function",
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
