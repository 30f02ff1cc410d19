"""Private parts of torch are touched in one file, `pyro_impl/torch_private.py`, and in no other.

Read from the syntax trees. Private are imports and attributes with an underscore, and torch.fx.experimental;
a name that the packages define themselves is theirs.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
PACKAGES = ("twinplate", "pyro_impl", "numpyro_impl", "equivalence_tests")
HOME = "pyro_impl/torch_private.py"

# Private names of others than torch.
OF_OTHERS = {
    "_params": "of Pyro's store, whose public view has no look-up by name",
    "_guides": "of NumPyro's AutoGuideList",
    "_update_master": "of Pyro's AutoGuide, whose AutoGuideList calls it on each part",
    "_assign_vectorize_particles_fn": "of NumPyro's ELBO, whose RenyiELBO takes no such argument",
    "_pjit_lower": "of JAX, where it keeps what programs were compiled from; the tests let go of it",
    "_cached_lowering_to_hlo": "of JAX, the same",
    "_replace": "public in a named tuple",
    "_getframe": "of sys, documented",
    "_exit": "of os, documented",
}
# What a distribution of ours uses of the class of torch's that it derives from.
INHERITED = {
    "_validate_sample",
    "_get_checked_instance",
    "_unbroadcasted_cov_factor",
    "_unbroadcasted_cov_diag",
    "_capacitance_tril",
}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_"


def defined(tree: ast.AST) -> set[str]:
    """Functions, classes, fields and attributes that a module makes."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.attr if isinstance(node, ast.Attribute) else node.id)
    return found


def torchs_names() -> set[str]:
    """Private members of what users hold of torch, which a string could name."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    held = (torch.nn.Module(), parameter, torch.optim.Adam([parameter]), torch.distributions.Normal)
    return {name for item in held for name in dir(item) if is_private(name)}


def violations(source: str, own: set[str]) -> set[str]:
    found = set()
    strings = torchs_names() - own
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None) or ""
            names = [f"{module}.{alias.name}".strip(".") for alias in node.names]
            for name in names:
                first, *rest = name.split(".")
                experimental = name.startswith("torch.fx.experimental")
                if first == "functorch" or (
                    first == "torch" and (experimental or any(map(is_private, rest)))
                ):
                    found.add(name)
        elif isinstance(node, ast.Attribute) and is_private(node.attr):
            inherited = ast.unparse(node.value) in ("self", "super()") and node.attr in INHERITED
            of_torch = ast.unparse(node).startswith("torch.")
            if of_torch or not (inherited or node.attr in own or node.attr in OF_OTHERS):
                found.add(ast.unparse(node))
        elif isinstance(node, ast.Constant) and node.value in strings:
            found.add(node.value)
    return found


def sources() -> dict[str, str]:
    files = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return {str(path.relative_to(ROOT)): path.read_text() for path in files}


def test_one_file_touches_what_is_private_in_torch():
    texts = sources()
    own = {name for path in texts if path != HOME for name in defined(ast.parse(texts[path]))}
    found = {path: violations(text, own) for path, text in texts.items()}
    assert len(found.pop(HOME)) >= 20  # or nothing was read
    assert {path: names for path, names in found.items() if names} == {}


def test_all_that_the_file_offers_is_used():
    texts = sources()
    body = ast.parse(texts.pop(HOME)).body
    functions = {node.name for node in body if isinstance(node, ast.FunctionDef)}
    assigned = (node for node in body if isinstance(node, ast.Assign | ast.AnnAssign))
    offered = functions.union(*(defined(node) for node in assigned)) - {"aten", "F"}
    imported = {
        alias.name
        for text in texts.values()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ImportFrom) and node.module == "pyro_impl.torch_private"
        for alias in node.names
    }
    assert offered == imported and len(offered) >= 15


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from torch._guards import tracing", {"torch._guards.tracing"}),
        ("from torch.utils import _pytree", {"torch.utils._pytree"}),
        ("import torch.fx.experimental.proxy_tensor as p", {"torch.fx.experimental.proxy_tensor"}),
        ("from torch.fx.experimental import proxy_tensor", {"torch.fx.experimental.proxy_tensor"}),
        ("import functorch", {"functorch"}),
        ("from torch import fx\nimport torch.nn", set()),
        ("from pyro_impl import _own", set()),
        ("torch._dynamo.reset()", {"torch._dynamo"}),
        ("aten._local_scalar_dense.default", {"aten._local_scalar_dense"}),
        ("operation._schema", {"operation._schema"}),
        ("torch._mine", {"torch._mine"}),
        ("other._mine, torch.__version__, self._capacitance_tril", set()),
        ("other._capacitance_tril", {"other._capacitance_tril"}),
        ("getattr(module, '_forward_hooks')", {"_forward_hooks"}),
    ],
)
def test_the_scan_sees(source, found):
    assert violations(source, {"_mine"}) == found
