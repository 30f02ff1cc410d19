"""Every kind of check can fail: a deliberate mistake of each kind turns it red."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import optax
import pytest

from equivalence_tests.reference.agreement import differences, relative_error
from equivalence_tests.reference.cases import TWINS, ReferenceCase
from equivalence_tests.reference.mistakes import KINDS, Patch
from equivalence_tests.reference.test_precision import flat, perturbed
from equivalence_tests.reference.test_training import matched
from numpyro_impl.recording import evaluation
from twinplate.programs.closed_form import closed_form_params
from twinplate.training import preparation
from twinplate.training.plan import Chunk
from twinplate.verification.comparison.rounding import judge

CASE = ReferenceCase("auxiliary", "full", "missing", amplitude=True, learned=True)
PLAIN = ReferenceCase("auxiliary", "full", "subsampled", amplitude=True)


@pytest.fixture(autouse=True)
def traced_anew(monkeypatch: Patch) -> None:
    """A mistake is made after a program has been compiled, and has to be seen all the same."""
    monkeypatch.setattr(evaluation, "_compiled", evaluation._compiled.__wrapped__)


def test_the_unspoilt_cases_agree() -> None:
    for case in (CASE, PLAIN):
        assert differences(case.run("pyro"), case.run("numpyro")) == []


@pytest.mark.parametrize("mistake", KINDS, ids=lambda m: m.__name__)
def test_mistake_is_seen(mistake: Callable[[Patch], None], monkeypatch: Patch) -> None:
    case = PLAIN if mistake.__name__ == "exp_for_softplus" else CASE
    mistake(monkeypatch)
    try:
        found = differences(case.run("pyro"), case.run("numpyro"))
    except (ValueError, UserWarning) as error:
        found = [f"raised {error}"]
    assert found, "not seen"
    assert found[0].split()[0].rstrip(":") in KINDS[mistake], found[0]


def test_gradient_mistake_moves_nothing_else(monkeypatch: Patch) -> None:
    from equivalence_tests.reference.mistakes import detached_loc

    detached_loc(monkeypatch)
    found = differences(CASE.run("pyro"), CASE.run("numpyro"))
    assert {line.split()[0] for line in found} == {"gradient"}


@pytest.mark.parametrize("size", [1e-6, 1e-9])
def test_two_precisions_see_a_relative_error(size: float) -> None:
    """Of 1e-6 and of 1e-9: both hide in single precision, neither in double."""
    runs = [flat(CASE.run(t, p)) for p in ("float64", "float32") for t in TWINS]
    for run in runs[1], runs[3]:
        run["model x density"] = run["model x density"] * (1 + size)
    opinion = flat(perturbed(CASE))
    seen = {p for p in runs[0] if judge(*(r[p] for r in runs), [opinion[p]]).verdict != "same"}
    assert seen == {"model x density"}


def test_training_sees_another_optimiser(monkeypatch: Patch) -> None:
    """Adam's ε of 1e-7 instead of 1e-8 in NumPyro."""
    adam = optax.scale_by_adam
    monkeypatch.setattr(optax, "scale_by_adam", lambda: adam(eps=1e-7))
    first, second = matched(ReferenceCase(), steps=20)
    assert relative_error(first.losses, second.losses) > 1e-12


def test_training_sees_another_order_of_items(monkeypatch: Patch) -> None:
    """The last mini-batch of every chunk is another one in the run of Pyro, the first of the two."""
    chunks, runs = preparation.chunks, []

    def other_items(*args: Any) -> Iterator[Chunk]:
        runs.append(args)
        for chunk in chunks(*args):
            if len(runs) == 1:
                chunk.indices[-1] = chunk.indices[-1] - 1
            yield chunk

    monkeypatch.setattr(preparation, "chunks", other_items)
    first, second = matched(ReferenceCase(), steps=20)
    assert len(runs) == 2 and relative_error(first.losses, second.losses) > 1e-12


def test_exactness_sees_a_thousandth_of_a_scale() -> None:
    """An encoder off by 0.1 % in one scale no longer gives every particle the log evidence."""
    case = ReferenceCase("auxiliary", "full", "full-data", size=(5, 3, 4, 7), vectorised=True)
    params = closed_form_params(case.program)
    params["encoder.out.bias"][3] += 1e-3
    evidence = case.program.start.log_evidence(case.x).sum()
    for twin in TWINS.values():
        elbo = twin.evaluate(case.x, case.program, params, case.noise, case.training()).elbo
        assert np.max(np.abs(elbo - evidence)) > 1e-10 * abs(evidence)
