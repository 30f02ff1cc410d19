"""The table of distributions: complete, as committed, and the source of the known inaccuracies."""

from __future__ import annotations

import math
import re
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest

from twinplate.records.record import Site
from twinplate.verification.comparison.counterparts import COUNTERPARTS, counterparts
from twinplate.verification.comparison.functions import FUNCTIONS
from twinplate.verification.comparison.inaccuracies import INACCURACIES, known
from twinplate.verification.comparison.validity import bounded, magnitude

PAGE = Path(__file__).parents[2] / "docs" / "distributions.md"
FIGURE = re.compile(r"\de[+-]\d\d|0|∞")
ROUNDING = 1e-13  # figures below are rounding, and may move by more than a factor
# Rounding in a factorisation, 2⁻⁵³ times the condition number: it depends on the processor's LAPACK.
ROUNDING_AT = {"condition number 1e8": 1e-7}

pytestmark = pytest.mark.xdist_group("distributions")


# The table changes with the libraries, whose versions are pinned; `make test` has every fourth case's bounds.
of_the_whole_table = pytest.mark.slow


@pytest.fixture(scope="module")
def module():
    """Imports both frameworks, so not before a test asks for it."""
    from equivalence_tests.distributions import page as distributions

    return distributions


@pytest.fixture(scope="module")
def table(module):
    """(ordinary, extreme) of every case, measured afresh: about 40 seconds."""
    return module.measure_all()


@pytest.fixture(scope="module")
def functions(module):
    """Special functions, measured afresh: about 8 seconds."""
    return module.measure_functions()


def errors(pair):
    """(setting, framework, classes, log density error, gradient error) of both libraries."""
    for measured in pair:
        for side, families in zip(("pyro", "numpyro"), measured.families, strict=True):
            gradient = getattr(measured.gradient, side) if measured.gradient else 0.0
            yield measured.extreme, side, families, getattr(measured.density, side), gradient


def cells(text):
    """Cells of every line of every Markdown table."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def number(cell):
    return math.inf if cell == "∞" else float(cell)


def words(row):
    """What a row is about: its cells that are no figures, of the first three."""
    return [cell for cell in row[:3] if not FIGURE.fullmatch(cell)]


def same_row(fresh, committed):
    """Whether all cells of a row agree; figures at an extreme setting stand after its name."""
    rounding = ROUNDING
    for new, old in zip(fresh, committed, strict=True):
        if not same(new, old, rounding):
            return False
        rounding = ROUNDING_AT.get(new, rounding)
    return True


def same(fresh, committed, rounding=ROUNDING):
    """Whether two cells agree: figures within a factor 4, everything else to the letter."""
    if not (FIGURE.fullmatch(fresh) and FIGURE.fullmatch(committed)):
        return fresh == committed
    a, b = (max(number(cell), rounding) for cell in (fresh, committed))
    return a == b or (a <= 4 * b and b <= 4 * a)


def test_every_shared_name_is_in_the_table_or_left_out_with_a_reason(module):
    first, second = module.inventory()
    covered = {case.family for case in module.CASES}
    assert len(first & second) >= 56
    assert first & second <= covered | set(module.LEFT_OUT)
    assert not covered & set(module.LEFT_OUT)
    assert all(module.LEFT_OUT.values())


@of_the_whole_table
def test_the_committed_page_is_a_fresh_run(module, table, functions):
    fresh, committed = cells(module.page(table, functions)), cells(PAGE.read_text(encoding="utf-8"))
    assert [words(row) for row in fresh] == [words(row) for row in committed]
    moved = [
        (new, old) for new, old in zip(fresh, committed, strict=True) if not same_row(new, old)
    ]
    assert not moved


@of_the_whole_table
def test_whoever_is_inaccurate_has_an_entry_with_bounds_that_hold(table):
    for pair in table:
        for extreme, side, families, density, gradient in errors(pair):
            entries = [entry for family in families if (entry := known(side, family))]
            if max(density, gradient) <= 1e-12:
                continue
            assert entries, f"{side}'s {families} is off by {density:.0e} and {gradient:.0e}"
            if not (extreme and any(entry.inside for entry in entries)):
                assert density <= sum(entry.log_density for entry in entries), entries
                assert gradient <= sum(entry.gradient for entry in entries), entries


@pytest.mark.parametrize("every", [pytest.param(1, marks=of_the_whole_table), 4])
def test_bounds_hold_inside_their_ranges_and_only_there(module, every):
    """At the extreme settings too; and of the gradient outside, where it has a bound there."""
    from equivalence_tests.distributions import errors as judged

    beyond = set()
    for case in module.CASES[::every]:
        points = case.points(extreme=True)
        answers = judged.in_pyro(case, points), judged.in_numpyro(case, points)
        apart = judged.apart(*(a.log_prob for a in answers))
        slopes = [judged.apart(g, answers[1].gradient[n]) for n, g in answers[0].gradient.items()]
        density, slope = np.zeros(len(apart)), np.zeros(len(apart))
        for side, answer in zip(("pyro", "numpyro"), answers, strict=True):
            for entry in filter(None, (known(side, family) for family in answer.families)):
                site, shape = site_of(points, answer), (1, len(apart))
                holds = bounded(entry, site, shape)[0]
                density += np.where(holds, entry.log_density, np.inf)
                outside = entry.gradient_outside * magnitude(entry, site, shape)[0]
                slope += np.where(holds, entry.gradient, outside)
                beyond |= {(side, entry.family)} if not holds.all() else set()
        assert (apart <= density + 1e-12).all(), (case.family, case.label)
        assert all((s <= slope + 1e-12).all() for s in slopes), (case.family, case.label)
    ranged = {(i.framework, i.family) for i in INACCURACIES if i.inside}
    assert every > 1 or ranged <= beyond  # every range is left by some point of an extreme setting


def site_of(points, answer):
    arguments = {name: values[None] for name, values in points.params.items()}
    batch = (len(points.value),)
    return Site("latent", (), batch, (), "", "", "", 1.0,
                points.value[None], answer.log_prob[None], None, arguments)  # fmt: skip


@of_the_whole_table
def test_bounds_are_not_lax(table):
    worst = {}
    for pair in table:
        for _, side, families, density, gradient in errors(pair):
            worst[side, families[0]] = max(density, gradient, worst.get((side, families[0]), 0.0))
    for entry in INACCURACIES:
        bound = max(entry.log_density, entry.gradient)
        assert worst[entry.framework, entry.family] > max(bound / 50, 1e-12), entry


BEHIND = {"ndtr"}  # what its inaccuracy does is in the entries of families


@of_the_whole_table
def test_functions_that_are_inaccurate_have_an_entry_with_bounds_that_are_not_lax(functions):
    worst = {}
    for measured in functions:
        for side, found in (("pyro", measured.torch), ("numpyro", measured.jax)):
            key = side, measured.case.name.partition("(")[0]
            worst[key] = np.maximum(found, worst.get(key, (0.0, 0.0)))
            if max(found) > 1e-11 and measured.case.name not in BEHIND:
                assert key in {(f.framework, f.function) for f in FUNCTIONS}, key
    for entry in FUNCTIONS:
        value, derivative = worst[entry.framework, entry.function]
        assert value <= max(entry.value, 1e-14) and derivative <= entry.derivative, entry
        assert max(value, derivative) > max(entry.value, entry.derivative) / 2, entry


@of_the_whole_table
def test_where_libraries_differ_someone_is_wrong(table):
    for pair in table:
        for measured in pair:
            for quantity in (measured.density, measured.gradient):
                if quantity and quantity.difference > 1e-11:
                    assert quantity.inaccurate, measured.case.label


@of_the_whole_table
def test_counterparts_are_the_classes_met(table):
    met = {}
    for ordinary, _ in table:
        met.setdefault(ordinary.case.family, set()).add(ordinary.families[1][0])
    wrappers = {"ExpandedDistribution", "Independent", "MaskedDistribution"}
    differing = {k: tuple(sorted(v)) for k, v in met.items() if v != {k} and k not in wrappers}
    assert differing == COUNTERPARTS
    assert counterparts("Normal") == ("Normal",)


def test_lookup_and_data():
    assert len({(i.framework, i.family) for i in INACCURACIES}) == len(INACCURACIES)
    assert all(
        i.reason and i.condition and i.framework in ("pyro", "numpyro") for i in INACCURACIES
    )
    assert all(bool(i.inside) == ("unbounded" in i.condition) for i in INACCURACIES)
    assert known("pyro", "VonMises").family == "VonMises"
    assert known("numpyro", "VonMises") is None
    assert known("pyro", "Normal") is None
    with pytest.raises(FrozenInstanceError):
        known("pyro", "VonMises").log_density = 1.0


@pytest.mark.parametrize("side", ["pyro", "numpyro"])
def test_the_judge_names_the_wrong_side(module, side):
    normal = next(case for case in module.CASES if case.family == "Normal")

    def right(library, p):
        return library.Normal(p["loc"], p["scale"])

    def wrong(library, p):
        return library.Normal(p["loc"], p["scale"] * (1 + 1e-9))

    builds = (wrong, right) if side == "pyro" else (right, wrong)
    measured = module.measure_errors(
        replace(normal, build=builds[0], second=builds[1]), extreme=False
    )
    assert measured.density.inaccurate == measured.gradient.inaccurate == (side,)
    assert 1e-10 < measured.density.difference < 1e-8


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (math.inf, "∞"),
        (2.1e-16, "3e-16"),
        (9.5e-8, "1e-07"),
        (4e-7, "4e-07"),
        (16, "2e+01"),
    ],
)
def test_figures_are_rounded_up(module, value, shown):
    assert module.figure(value) == shown


def test_the_page_is_printed_or_written(module, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(module, "measure_all", list)
    monkeypatch.setattr(module, "measure_functions", list)
    module.main(["--write", str(tmp_path / "page.md")])
    module.main([])
    assert capsys.readouterr().out == (tmp_path / "page.md").read_text(encoding="utf-8")
