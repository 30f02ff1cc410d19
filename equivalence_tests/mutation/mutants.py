"""Spoilt copies of the correct pairs, judged against the program that is right.

A mutant is an edit of a pair's source text, executed as a module of its own. Only the spoilt program is
recorded afresh: the other's record is made once for each case, and kept.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import itertools
import sys
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from twinplate.records.record import Record
from twinplate.verification.case import Case
from twinplate.verification.recording import record
from twinplate.verification.report import Report, compare

PAIRS = Path(__file__).parents[1] / "pairs"
_serial = itertools.count()


@functools.cache
def source(pair: str) -> str:
    """Source text of a pair."""
    return (PAIRS / f"{pair}.py").read_text()


@functools.cache
def original(pair: str) -> ModuleType:
    """The pair as it is."""
    with executed(pair, source(pair)) as module:
        return module


@contextmanager
def executed(pair: str, text: str) -> Iterator[ModuleType]:
    """A module made of `text`; importable by its name meanwhile, as dataclasses and flax want."""
    module = ModuleType(f"equivalence_tests.pairs.{pair}_{next(_serial)}")
    module.__file__ = str(PAIRS / f"{pair}.py")
    sys.modules[module.__name__] = module
    try:
        exec(compile(text, module.__file__, "exec"), module.__dict__)
        yield module
    finally:
        del sys.modules[module.__name__]


def at_one_worker(pair: str) -> pytest.MarkDecorator:
    """Of tests with mistakes in this pair: records of its right programs are then made once."""
    return pytest.mark.xdist_group(f"mistakes in {pair}")


def parameters(pairs: Mapping[str, str], quick: Container[str]) -> list[Any]:
    """Parameters of a test, each with the pair that it has to do with; those that are not quick are slow."""
    slow = ((), (pytest.mark.slow,))
    return [
        pytest.param(name, marks=(at_one_worker(pair), *slow[name not in quick]))
        for name, pair in pairs.items()
    ]


# -- which program of which case a definition belongs to -----------------------------------------------


@functools.cache
def _statements(pair: str) -> dict[str, ast.stmt]:
    """Every top-level definition and assignment by its name."""
    found: dict[str, ast.stmt] = {}
    for statement in ast.parse(source(pair)).body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            found[statement.name] = statement
        elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            found[statement.targets[0].id] = statement
    return found


def _reached(pair: str, start: ast.AST) -> set[str]:
    """Names of the top-level statements that an expression needs."""
    reached: set[str] = set()
    waiting: list[ast.AST] = [start]
    while waiting:
        names = {n.id for n in ast.walk(waiting.pop()) if isinstance(n, ast.Name)}
        for name in names & _statements(pair).keys() - reached:
            reached.add(name)
            waiting.append(_statements(pair)[name])
    return reached


@functools.cache
def programs(pair: str) -> dict[str, tuple[set[str], set[str]]]:
    """For every case the names that its first and its second program need."""
    found = {}
    for name, statement in _statements(pair).items():
        if not name.startswith("CASE") or not isinstance(statement, ast.Assign):
            continue
        call = statement.value
        if isinstance(call, ast.Call) and len(call.args) >= 2:
            found[name] = (_reached(pair, call.args[0]), _reached(pair, call.args[1]))
    return found


def is_second(pair: str, case: str, where: str) -> bool:
    """Whether definition `where` belongs to the case's second program; the case itself does too.

    Raises ValueError if neither program needs it.
    """
    first, second = programs(pair)[case]
    if where not in first | second | {case}:
        raise ValueError(f"{pair}:{case} needs no {where}")
    return where not in first or where in second


def case_with(pair: str, where: str) -> str | None:
    """The first case that needs definition `where`, None if no case does."""
    needs = (name for name, (a, b) in programs(pair).items() if where in a | b)
    return next(needs, None)


# -- judging -------------------------------------------------------------------------------------------


def cases(module: ModuleType) -> dict[str, Case]:
    """Every case of a pair."""
    return {name: value for name, value in vars(module).items() if isinstance(value, Case)}


def flipped(case: Case) -> Case:
    """The case with its programs exchanged."""
    rename: dict[str, Any] = {}
    for first, entry in case.rename.items():
        if isinstance(entry, str):
            rename[entry] = first
        else:
            second, to_second, to_first = entry
            rename[second] = (first, to_first, to_second)
    params = None if case.params is None else _renamed(case.params, case.rename)
    return dataclasses.replace(
        case, first=case.second, second=case.first, rename=rename, params=params
    )


def _renamed(params: Any, rename: Any) -> dict[str, Any]:
    renamed = {}
    for name, value in params.items():
        entry = rename.get(name, name)
        second, convert = (entry, lambda v: v) if isinstance(entry, str) else entry[:2]
        renamed[second] = convert(value)
    return renamed


def first_record(case: Case) -> Record:
    """Record of a case's first program."""
    params = None if case.params is None else dict(case.params)
    return record(case.first, case.args, dict(case.kwargs), params=params, settings=case.settings)


def second_record(case: Case, like: Record) -> Record:
    """Record of a case's second program."""
    return record(case.second, case.args, dict(case.kwargs), like=like, rename=case.rename)


def _oriented(module: ModuleType, name: str, second: bool, seeds: tuple[int, ...] | None) -> Case:
    case = cases(module)[name]
    case = case if second else flipped(case)
    return case if seeds is None else dataclasses.replace(case, seeds=seeds)


@functools.lru_cache(maxsize=40)
def right_record(pair: str, name: str, second: bool, seeds: tuple[int, ...] | None) -> Record:
    """Record of the program that is right, the `second` or the first one being spoilt."""
    return first_record(_oriented(original(pair), name, second, seeds))


@functools.lru_cache(maxsize=64)
def spoilt_records(
    pair: str, name: str, where: str, text: str, seeds: tuple[int, ...] | None = None
) -> tuple[Record, Record]:
    """Records of the right program and of the one that `where` spoils in `text`, in this order.

    seeds: in place of the case's own.
    """
    second = is_second(pair, name, where)
    like = right_record(pair, name, second, seeds)
    with executed(pair, text) as module:
        case = _oriented(module, name, second, seeds)
        if case.settings != like.settings:  # the case itself is spoilt
            like = first_record(case)
        return like, second_record(case, like)


def judged_first(pair: str, name: str, where: str, text: str) -> Report:
    """Report on one case of the spoilt pair, the spoilt program first."""
    with executed(pair, text) as module:
        case = _oriented(module, name, not is_second(pair, name, where), None)
        first = first_record(case)
        return compare(first, second_record(case, first))


def recorded_afresh(pair: str, name: str, where: str, text: str) -> tuple[Record, Record]:
    """Both records as `spoilt_records` has them, made again by the recorder as it is now and not kept."""
    second = is_second(pair, name, where)
    right = _oriented(original(pair), name, second, None)
    with executed(pair, text) as module:
        spoilt = _oriented(module, name, second, None)
        like = first_record(right if right.settings == spoilt.settings else spoilt)
        return like, second_record(spoilt, like)
