"""Mechanical mistakes: every operator, wherever it applies in the programs of the pairs.

First values of parameters are left alone: programs are compared at shared values, so none of those can
show. Constants are changed by 1 % in Pyro's programs and by a millionth in NumPyro's. A spoilt copy of a
NumPyro program has to be compiled, so only every eighth place of those is spoilt.
"""

from __future__ import annotations

import ast
import copy
import functools
import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from equivalence_tests.mutation import operators
from equivalence_tests.mutation.mutants import case_with, source, spoilt_records
from equivalence_tests.mutation.operators import Operator, called
from twinplate.errors import InputError
from twinplate.verification.report import compare

# What a top-level function or class of a pair must mention to belong to a framework's program.
WORDS = {
    "pyro": {"pyro", "torch", "pdist", "nn"},
    "numpyro": {"numpyro", "jnp", "jax", "ndist", "nnx", "flax", "lax"},
}
UNDECIDED = "gaussian_process:CASE_SINGULAR"  # also where it is right
SEEDS = (0,)  # one ordinary draw and the stress draw must show every one
EVERY = {"pyro": 1, "numpyro": 8}
LEFT_TO_THE_OTHER = {
    "pyro": operators.constant_1e_minus_6,
    "numpyro": operators.constant_1_percent,
}


@dataclass(frozen=True)
class Mutation:
    """One place where an operator applies: `text` is the pair's whole source, spoilt.

    number: tells apart several places of a function that read the same.
    """

    pair: str
    case: str
    function: str
    operator: str
    before: str
    after: str
    number: int
    text: str

    def __str__(self) -> str:
        number = f" #{self.number}" if self.number else ""
        return f"{self.pair}:{self.function}:{self.operator}: {self.before} → {self.after}{number}"

    def is_seen(self) -> bool:
        """Whether the spoilt program differs, cannot run, or lacks a site that the case renames."""
        try:
            records = spoilt_records(self.pair, self.case, self.function, self.text, SEEDS)
        except InputError as error:
            return str(error).startswith("rename says")
        return compare(*records).verdict in ("differs", "could not run")


@functools.cache
def mutations(pair: str) -> tuple[Mutation, ...]:
    """Every mutation of the functions and classes of a pair that belong to one framework and a case."""
    found, seen = [], Counter[tuple[str, ...]]()
    text = source(pair)
    for definition in ast.parse(text).body:
        if not isinstance(definition, ast.FunctionDef | ast.ClassDef):
            continue
        framework, case = _framework(definition), case_with(pair, definition.name)
        if framework is None or case is None or f"{pair}:{case}" == UNDECIDED:
            continue
        places = itertools.islice(_places(definition, framework), 0, None, EVERY[framework])
        for operator, node, other in places:
            before, after, spoilt = _edited(text, node, other)
            key = (definition.name, operator.__name__, before, after)
            found.append(
                Mutation(
                    pair, case, key[0], key[1], *key[2:], seen[key], spoilt
                )
            )  # fmt: skip
            seen[key] += 1
    return tuple(found)


def _framework(definition: ast.AST) -> str | None:
    """The framework that a definition uses, None for none or both."""
    used = {node.id for node in ast.walk(definition) if isinstance(node, ast.Name)}
    belongs = [framework for framework, words in WORDS.items() if used & words]
    return belongs[0] if len(belongs) == 1 else None


def _places(definition: ast.AST, framework: str) -> Iterator[tuple[Operator, ast.AST, ast.AST]]:
    chosen = [o for o in operators.OPERATORS if o is not LEFT_TO_THE_OTHER[framework]]
    dropped = {node.value for node in ast.walk(definition) if isinstance(node, ast.Expr)}
    for node in _compared(definition):
        for operator in chosen:
            if operator is operators.site_as_mean and node in dropped:
                continue  # without_site drops it
            for other in operator(node):
                yield operator, node, other


def _compared(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but first values of parameters."""
    yield node
    skipped: list[ast.AST] = []
    if isinstance(node, ast.Call) and called(node) in ("param", "PyroParam"):
        skipped = list(node.args)
    for child in ast.iter_child_nodes(node):
        if child not in skipped:
            yield from _compared(child)


@functools.cache
def _starts(text: str) -> tuple[bytes, list[int]]:
    """A source in bytes, as nodes count columns, and where each line starts."""
    encoded = text.encode()
    lengths = [len(line) for line in encoded.splitlines(keepends=True)]
    return encoded, list(itertools.accumulate(lengths, initial=0))


def _edited(text: str, node: ast.AST, other: ast.AST) -> tuple[str, str, str]:
    """What stood there and what stands there now, on one line each, and the whole spoilt source."""
    encoded, starts = _starts(text)
    start = starts[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]
    end = starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]
    before = encoded[start:end].decode()
    after = ast.unparse(ast.fix_missing_locations(copy.deepcopy(other)))
    written = f"({after})" if isinstance(other, ast.expr) else after
    spoilt = (encoded[:start] + written.encode() + encoded[end:]).decode()
    return " ".join(before.split()), " ".join(after.split()), spoilt
