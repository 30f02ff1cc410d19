"""`verify` and `assert_same` name every argument of a `Case`, with its default, and pass it on."""

from __future__ import annotations

import dataclasses
import inspect

import pytest

from twinplate import Case, assert_same, verify
from twinplate.verification import case as case_module

OTHERS = {  # a value for every argument of a Case that is not its default
    "args": (1.0,),
    "kwargs": {"y": 2.0},
    "params": {"loc": 0.5},
    "draws": {"z": 1.5},
    "loss": "TraceGraph_ELBO",
    "particles": 2,
    "vectorize_particles": True,
    "seeds": (4, 5),
    "stress": False,
    "rename": {"z": "latent"},
    "alpha": 0.5,
}


class StoppedError(Exception):
    """Raised in place of the work, with the case that would be verified."""


@pytest.fixture
def case_of(monkeypatch):
    """The case that a call of `verify` or `assert_same` comes to, and what is told of its progress."""

    def stopped(case, progress):
        raise StoppedError(case, progress)

    monkeypatch.setattr(case_module, "_verified", stopped)

    def case_of(function, *programs, **arguments):
        with pytest.raises(StoppedError) as stop:
            function(*programs, **arguments)
        return stop.value.args

    return case_of


@pytest.mark.parametrize("function", [verify, assert_same])
def test_the_arguments_are_those_of_a_case(function):
    named = list(inspect.signature(function).parameters.values())
    fields = [field.name for field in dataclasses.fields(Case)]
    assert [parameter.name for parameter in named] == [*fields, "progress"]
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in named[2:])
    assert {*OTHERS} == {*fields} - {"first", "second"}


@pytest.mark.parametrize("function", [verify, assert_same])
def test_the_defaults_are_those_of_a_case(function, case_of):
    assert case_of(function, "one", "two") == (Case("one", "two"), None)


@pytest.mark.parametrize("function", [verify, assert_same])
@pytest.mark.parametrize("name", OTHERS)
def test_every_argument_arrives(function, name, case_of):
    arguments = {name: OTHERS[name]}
    assert case_of(function, "one", "two", **arguments) == (Case("one", "two", **arguments), None)


@pytest.mark.parametrize("function", [verify, assert_same])
def test_a_case_brings_its_own_arguments(function, case_of):
    case = Case("one", "two", **OTHERS)
    assert case_of(function, case, progress=print) == (case, print)


@pytest.mark.parametrize("function", [verify, assert_same])
def test_one_program_alone_is_refused(function):
    with pytest.raises(TypeError, match="two programs"):
        function("one")
    with pytest.raises(TypeError, match="seed"):
        function("one", "two", seed=3)
