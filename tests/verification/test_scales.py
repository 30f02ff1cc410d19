"""Scales of log densities: weights of each element, and the factor of a subsample by hand."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pyro = pytest.importorskip("pyro")

import pyro.distributions as dist  # noqa: E402
from pyro import poutine  # noqa: E402

from pyro_impl import Program  # noqa: E402
from twinplate import verify  # noqa: E402

Y, WEIGHTS = np.array([0.3, -1.0, 2.0, 0.5]), np.array([1.0, 2.0, 0.5, 3.0])


def verified(first, second, *args):
    programs = Program(first), Program(second)
    return verify(*programs, args=args, seeds=(0,), stress=False)


def weighted(change, heaviest=4.0):
    """Observations `Y`, scaled by what `change` makes of the weights; those above `heaviest` masked."""

    def model(y, weights):
        m = pyro.sample("m", dist.Normal(0.0, 2.0))
        light = poutine.mask(mask=weights < heaviest)
        with pyro.plate("items", 4), light, poutine.scale(scale=change(weights)):
            pyro.sample("y", dist.Normal(m, 1.0), obs=y)

    return model


@pytest.mark.parametrize(
    ("change", "shown", "explanation"),
    [
        (lambda w: w / w.sum(), ("3", "0.461538"), "the other's divided by their sum"),
        (lambda w: w.flip(0), ("1", "3"), "the same numbers in another order"),
        (lambda w: 1 / w, ("3", "0.333333"), "each other's reciprocals"),
        (lambda w: 1.0, ("3", "1"), "The second program does not weigh"),
        (
            lambda w: w.index_fill(0, torch.tensor([2]), 0.7),
            ("0.5", "0.7"),
            "(1 of 4 numbers at [2])",
        ),
    ],
)
def test_weights_that_differ_are_shown_where_they_do_most(change, shown, explanation):
    finding = verified(weighted(lambda w: w), weighted(change), Y, WEIGHTS).findings[0]
    assert (finding.stage, finding.site) == ("density", "y")
    assert (finding.first, finding.second) == shown
    assert "scaled by another factor" in finding.message and explanation in finding.message


def test_a_weight_of_what_is_masked_matters_not():
    first = weighted(lambda w: w, heaviest=2.5)
    second = weighted(lambda w: torch.where(w < 2.5, w, 7.0), heaviest=2.5)
    assert verified(first, second, Y, WEIGHTS).ok


def batch(size, subsample_size, scale):
    """Three of twelve observations, in a plate of these sizes and a scale of its own."""

    def model(y):
        with pyro.plate("data", size, subsample_size), poutine.scale(scale=scale):
            z = pyro.sample("z", dist.Normal(0.0, 3.0))
            pyro.sample("y", dist.Normal(z, 1.0), obs=y)

    def guide(y):
        loc = pyro.param("loc", torch.zeros(3))
        with pyro.plate("data", size, subsample_size), poutine.scale(scale=scale):
            pyro.sample("z", dist.Normal(loc, 1.0))

    return Program(model, guide)


def test_a_batch_scaled_by_hand_is_a_subsampled_plate():
    report = verify(batch(12, 3, 1.0), batch(3, None, 4.0), args=(Y[:3],), seeds=(0,), stress=False)
    assert report.ok
    assert {f.site for f in report.findings if f.stage == "plates"} == {"z", "y"}


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (batch(12, 3, 4.0), "subsampled plate applies it, and a scale of its own once more"),
        (batch(3, None, 1.0), "in the second program, which lacks the factor N/B = 12/3"),
        (batch(3, None, 16.0), "scales by 16; the other program, with the factor N/B = 12/3, by 4"),
    ],
)
def test_a_factor_of_a_batch_that_is_missing_or_applied_twice(other, said):
    report = verify(batch(12, 3, 1.0), other, args=(Y[:3],), seeds=(0,), stress=False)
    assert said in report.findings[0].message
    assert ("lacks" in said) == ("lacks" in str(report))


def taken(options):
    """Two of four items."""

    def model(y):
        m = pyro.sample("m", dist.Normal(0.0, 2.0))
        with pyro.plate("items", 4, **options) as i:
            pyro.sample("y", dist.Normal(m, 1.0), obs=y[i])

    return Program(model, lambda y: pyro.sample("m", dist.Normal(0.0, 1.0)))


OWN, DRAWN = {"subsample": torch.tensor([3, 1])}, {"subsample_size": 2}


@pytest.mark.parametrize("options", [(OWN, DRAWN), (DRAWN, OWN)])
def test_indices_that_a_program_gives_a_plate_are_those_of_both(options):
    report = verify(*map(taken, options), args=(Y,), seeds=(1,), stress=False)
    assert report.ok and report.first.given["1"].indices["items"].tolist() == [3, 1]


def test_of_two_programs_that_give_a_plate_other_indices_that_is_said():
    other = {"subsample": torch.tensor([0, 2])}
    report = verify(taken(OWN), taken(other), args=(Y,), seeds=(1,), stress=False)
    assert "Perhaps plate items takes other items" in report.findings[0].message
