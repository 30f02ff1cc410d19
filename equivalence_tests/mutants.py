"""Spoilt copies of the correct pairs, judged against the program that is right.

A mutant is an edit of a pair's source text, executed as a module of its own. Only the spoilt program is
recorded afresh: the other's record is made once for each case, and kept.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from twinplate.case import Case
from twinplate.compare import Report, compare
from twinplate.record import Record
from twinplate.recording import record

PAIRS = Path(__file__).parent / "pairs"
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


def with_wrong_second(case: Case, wrong: str) -> Case:
    """The case with the program of framework `wrong` second."""
    return case if case.second.framework == wrong else flipped(case)


@functools.cache
def right_record(pair: str, name: str, wrong: str) -> Record:
    """Record of the unspoilt program that the one of framework `wrong` is compared with."""
    return first_record(with_wrong_second(cases(original(pair))[name], wrong))


def first_record(case: Case) -> Record:
    """Record of a case's first program."""
    params = None if case.params is None else dict(case.params)
    return record(case.first, case.args, dict(case.kwargs), params=params, settings=case.settings)


def second_record(case: Case, like: Record) -> Record:
    """Record of a case's second program."""
    return record(case.second, case.args, dict(case.kwargs), like=like, rename=case.rename)


@functools.cache
def spoilt_records(pair: str, name: str, wrong: str, text: str) -> tuple[Record, Record]:
    """Records of the right program and of the one of framework `wrong` in `text`, in this order."""
    like = right_record(pair, name, wrong)
    with executed(pair, text) as module:
        return like, second_record(with_wrong_second(cases(module)[name], wrong), like)


def judged(pair: str, name: str, wrong: str, text: str) -> Report:
    """Report on one case of the spoilt pair, the right program first."""
    return compare(*spoilt_records(pair, name, wrong, text))


def judged_first(pair: str, name: str, wrong: str, text: str) -> Report:
    """Report on one case of the spoilt pair, the spoilt program first."""
    with executed(pair, text) as module:
        case = flipped(with_wrong_second(cases(module)[name], wrong))
        first = first_record(case)
        return compare(first, second_record(case, first))
