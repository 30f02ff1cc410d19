"""How runs are chosen: none after a program stopped, and small changes only of what is continuous."""

from __future__ import annotations

import numpy as np
import pytest

from twinplate.errors import InputError
from twinplate.records.record import PRECISIONS, Failure, Given, Run, Settings, Site
from twinplate.verification.comparison.rounding import PERTURBATION
from twinplate.verification.recording import perturbed, record
from twinplate.verification.report import compare
from twinplate.verification.reports.terminal import as_text


class Fake:
    """A program without a framework, which stops in the runs named in `stops`; `seen` lists all runs."""

    framework = "pyro"
    functions = ()

    def __init__(self, stops=()) -> None:
        self.stops, self.seen = set(stops), []
        self.operations: set[str] = set()
        self.own_indices: dict[str, np.ndarray] = {}
        self.given: list[float] = []  # draws to sample with

    def versions(self):
        return {}

    def session(self, precision, settings):
        return self

    def outline(self, given, args, kwargs):
        return self._run(0.0)

    def sample(self, seed, given, args, kwargs):
        self.draw = seed
        self.given += [values.item() for values in given.draws.values() if values.size == 1]
        return self._run(float(seed))

    def run(self, given: Given, args, kwargs):
        number = len([name for name, _ in self.seen if name == "run"])
        self.seen.append(("run", given.draws["z"].item()))
        if number in self.stops:
            return Run(failure=Failure("model", "z", "ValueError: no", ""))
        return self._run(given.draws["z"].item())

    def _run(self, z):
        value = np.array([z])
        site = Site("latent", (), (), (), "real", "Normal", "float64", 1.0, value, -(value**2))
        return Run(model={"z": site}, loss=value**2)


SETTINGS = Settings(seeds=(1, 2))


def test_every_draw_runs_in_every_precision() -> None:
    program = Fake()
    made = record(program, settings=SETTINGS)
    assert len(program.seen) == len(made.runs) == 3 * len(PRECISIONS)


@pytest.mark.parametrize(("stops", "runs"), [({0}, 2), ({5}, 7), ({10}, 12)])
def test_a_failure_is_the_last_run_but_for_one_in_single_precision(stops, runs) -> None:
    """Of the first draw, the second, the stress draw."""
    program = Fake(stops)
    made = record(program, settings=SETTINGS)
    assert len(program.seen) == runs
    assert made.failure is not None
    assert set(made.given) == {draw for draw, _ in made.runs}


def test_single_precision_may_fail_alone() -> None:
    program = Fake({1})
    record(program, settings=SETTINGS)
    assert len(program.seen) == 15


def test_the_second_program_runs_no_further_than_the_first() -> None:
    first, second = record(Fake({5}), settings=SETTINGS), Fake()
    made = record(second, like=first)
    assert len(second.seen) == 6  # the first draw, and once what the first program stops in
    report = compare(first, made)
    assert report.verdict == "could not run"
    assert "Tested: draws 1, 2;" in as_text(report)


def test_a_stop_of_the_second_program_is_found_whatever_draws_are_left() -> None:
    first = record(Fake(), settings=SETTINGS)
    report = compare(first, record(Fake({5}), like=first))
    assert report.verdict == "could not run"
    assert report.findings[0].draw == "2"
    assert report.to_html().count("COULD NOT RUN") == 1


def test_only_what_is_continuous_is_perturbed() -> None:
    """Counts and labels that a framework keeps as real numbers would leave their support."""
    counts, labels, rates = np.array([3.0, 0.0]), np.array([1, 2]), np.array([0.3, 2.0])
    tree = {
        "draws": (counts, rates),
        "kwargs": {"labels": labels, "on": True, "text": "a", "x": 0.1},
    }
    moved = perturbed(tree, np.random.default_rng(0))
    np.testing.assert_array_equal(moved["draws"][0], counts)
    assert moved["kwargs"] == tree["kwargs"] | {"x": moved["kwargs"]["x"]}
    change = np.abs(moved["draws"][1] / rates - 1)
    np.testing.assert_allclose(change, PERTURBATION, rtol=1e-3)
    assert moved["kwargs"]["x"] != 0.1


def test_draws_that_are_given_are_those_of_every_draw_as_they_are() -> None:
    program = Fake()
    record(program, draws={"z": 0.25}, settings=SETTINGS)
    assert program.given == [0.25] * 3  # two seeds, the stress draw
    assert all(abs(value - 0.25) < 1e-12 for _, value in program.seen)  # perturbed, not stretched


@pytest.mark.parametrize(
    ("draws", "said"),
    [
        ({"q": 1.0}, "draws names q, which the program does not have; its latent sites are z"),
        ({"z": np.ones(2)}, r"site 'z' the shape \(2,\); expected \(\)"),
    ],
)
def test_draws_of_no_site_and_of_another_shape_are_refused(draws, said) -> None:
    with pytest.raises(InputError, match=said):
        record(Fake(), draws=draws, settings=SETTINGS)
