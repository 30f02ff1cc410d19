"""Lists of automatic guides: a joint guide in a list is that of the other program whose sites it draws."""

from __future__ import annotations

import numpy as np
import numpyro
import numpyro.distributions as ndist
import pyro
import pytest
from numpyro.infer import autoguide as numpyro_auto
from pyro.infer import autoguide as pyro_auto
from pyro.nn import PyroModule

from equivalence_tests.pairs.joint_autoguides import from_pyro, numpyro_model, pyro_model, y
from numpyro_impl.recording.program import Program as NumpyroProgram
from pyro_impl.recording.program import Program as PyroProgram
from twinplate import Case, convert, verify
from twinplate.records.record import Given
from twinplate.verification.matching.unconstrained import jitter

DIAGONAL, MULTIVARIATE = "AutoDiagonalNormal", "AutoMultivariateNormal"
LOW_RANK = "AutoLowRankMultivariateNormal"


def pyro_list(*parts) -> PyroProgram:
    """parts: (guide, sites)."""

    def build():
        guide = pyro_auto.AutoGuideList(pyro_model)
        for name, sites in parts:
            guide.append(getattr(pyro_auto, name)(pyro.poutine.block(pyro_model, expose=sites)))
        return pyro_model, guide

    return PyroProgram.build(build)


def numpyro_list(*parts) -> NumpyroProgram:
    """parts: (guide or its name, sites, options). NumPyro's guides need the plate of a site, too."""

    def build():
        guide = numpyro_auto.AutoGuideList(numpyro_model)
        for kind, sites, options in parts:
            make = getattr(numpyro_auto, kind) if isinstance(kind, str) else kind
            part = numpyro.handlers.block(numpyro_model, expose=[*sites, "rows"])
            guide.append(make(part, **options))
        return numpyro_model, guide

    return NumpyroProgram.build(build)


def verdict(first, second, **options):
    return verify(Case(first, second, args=(y,), seeds=(0,), stress=False, **options))


@pytest.mark.parametrize(
    ("joint", "rest", "is_last"),
    [
        (DIAGONAL, "AutoNormal", True),
        (MULTIVARIATE, "AutoDelta", False),
        pytest.param(MULTIVARIATE, "AutoNormal", False, marks=pytest.mark.slow),
        pytest.param(LOW_RANK, "AutoDelta", True, marks=pytest.mark.slow),
    ],
)
def test_one_joint_guide_of_a_list(joint, rest, is_last) -> None:
    """Of two sites that Pyro packs as they are executed and NumPyro by name, before or after other sites."""
    parts = [(rest, ["weights", "effects"]), (joint, ["spread", "noise"])]
    parts = parts if is_last else parts[::-1]
    report = verdict(pyro_list(*parts), numpyro_list(*((*part, {}) for part in parts)))
    assert report.ok, report


# Where (columns, rows) of the effects lie in (rows, columns), and the spread behind them.
MOVED = (*np.arange(8).reshape(2, 4).T.ravel(), 8)
PAIR = ((MULTIVARIATE, ["weights", "noise"]), (MULTIVARIATE, ["spread", "effects"]))


def test_two_joint_guides_are_told_apart_by_their_sites() -> None:
    """NumPyro's list has them in the other order, under names of the user's."""
    first, second = PAIR
    parts = ((*second, {"prefix": "auto_of_effects"}), (*first, {"prefix": "q"}))
    assert verdict(pyro_list(*PAIR), numpyro_list(*parts)).ok


def test_two_joint_guides_are_converted_there_and_back() -> None:
    """Pyro packs spread, effects, and NumPyro effects, spread: the second guide's numbers are moved."""
    first, second = PAIR
    parts = ((*second, {"prefix": "auto_of_effects"}), (*first, {"prefix": "q"}))
    case = Case(pyro_list(*PAIR), numpyro_list(*parts), args=(y,))
    session = case.first.session("float64", case.settings)
    learned = session.sample(0, Given(), case.args, {}).parameters
    rng = np.random.default_rng(3)
    given = {name: jitter(p.value, p.constraint, rng) for name, p in learned.items()}
    there = convert(case, given)
    for mine, theirs in there.losses.values():
        assert mine == pytest.approx(theirs, rel=1e-9)
    loc = there.trained.params["auto_of_effects_loc"]
    np.testing.assert_array_equal(loc, np.roll(given["AutoGuideList.1.loc"], -1)[[*MOVED]])
    back = convert(case, there.trained, to="first").trained.params
    for name, values in given.items():
        np.testing.assert_allclose(back[name], values, rtol=1e-12, atol=1e-12)


def test_a_renamed_joint_latent_is_one_still() -> None:
    rename = {"_AutoMultivariateNormal_latent": "_q_latent"}
    second = NumpyroProgram.build(
        lambda: (numpyro_model, numpyro_auto.AutoMultivariateNormal(numpyro_model, prefix="q"))
    )
    for names in (rename, {}):
        report = verdict(from_pyro(pyro_model, MULTIVARIATE), second, rename=names)
        assert report.ok, report


def test_a_guide_that_is_an_attribute() -> None:
    """Pyro calls it after the attribute."""

    class Both(PyroModule):
        def __init__(self):
            super().__init__()
            self.guide = pyro_auto.AutoMultivariateNormal(pyro_model)

    second = NumpyroProgram.build(
        lambda: (numpyro_model, numpyro_auto.AutoMultivariateNormal(numpyro_model))
    )
    report = verdict(PyroProgram.build(lambda: (pyro_model, Both().guide)), second)
    assert report.ok, report
    assert "_guide_latent" in report.first.runs["0", "float64"].guide


class ExchangedScales(numpyro_auto.AutoDiagonalNormal):
    """Its scales are another number's."""

    def _get_posterior(self):
        right = super()._get_posterior()
        return ndist.Normal(right.loc, right.scale[::-1])


class WideFactor(numpyro_auto.AutoMultivariateNormal):
    """Its factor is 1 % too large."""

    def _get_posterior(self):
        right = super()._get_posterior()
        return ndist.MultivariateNormal(right.loc, scale_tril=1.01 * right.scale_tril)


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        pytest.param(0, "_AutoGuideList.0_latent", marks=pytest.mark.slow),
        (1, "_AutoGuideList.1_latent"),
    ],
)
def test_the_wrong_guide_of_two_is_named(wrong, place) -> None:
    parts = [(*part, {"prefix": f"q{i}"}) for i, part in enumerate(PAIR)]
    parts[wrong] = (WideFactor, *parts[wrong][1:])
    report = verdict(pyro_list(*PAIR), numpyro_list(*parts))
    assert report.verdict == "differs"
    assert (report.findings[0].stage, report.findings[0].site) == ("density", place), report


def test_exchanged_scales_are_seen_at_their_guide() -> None:
    parts = (("AutoNormal", ["weights", "effects"]), (DIAGONAL, ["spread", "noise"]))
    second = ((*parts[0], {}), (ExchangedScales, parts[1][1], {}))
    report = verdict(pyro_list(*parts), numpyro_list(*second))
    place = (report.findings[0].stage, report.findings[0].site)
    assert (report.verdict, *place) == ("differs", "density", "_AutoGuideList.1_latent"), report
