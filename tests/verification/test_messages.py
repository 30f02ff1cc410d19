"""What a report says, and in whose terms: places, lengths of series, what stopped, what to wrap."""

from __future__ import annotations

import re
from functools import partial

import numpy as np
import numpyro
import pyro
import pyro.distributions as dist
import pytest
import torch
from numpyro.contrib.control_flow import scan
from pyro import poutine

from numpyro_impl import Program as Other
from pyro_impl import Program
from twinplate import Case, InputError, ProgramConfig, make_program, verify
from twinplate.verification.reports.html_page import page

# -- indices are those of the shape that the report shows ------------------------------------------------


def wide(place: int | None, event: bool = False):
    """`y` of batch shape (2, 3), or batch (3,) and event (2,); the scale at [1, 2] is another."""
    scale = torch.ones(2, 3)
    if place is not None:
        scale[1, 2] = 2.0

    def model(y):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        normal = dist.Normal(m, scale)
        with pyro.plate("items", 3, dim=-1):
            if event:
                pyro.sample("y", dist.Normal(m, scale.mT).to_event(1), obs=y.mT)
            else:
                with pyro.plate("rows", 2, dim=-2):
                    pyro.sample("y", normal, obs=y)

    return model


def guide(y):
    loc = pyro.param("loc", lambda: torch.tensor(0.1))
    pyro.sample("m", dist.Normal(loc, 1.0))


def written(first, second, particles=1):
    """The message on `y`, and the page."""
    programs = (Program(model, guide) for model in (first, second))
    y = np.arange(6.0).reshape(2, 3)
    report = verify(*programs, args=(y,), seeds=(0,), stress=False, particles=particles)
    return next(f.message for f in report.findings if f.site == "y"), page({"": report})


@pytest.mark.parametrize(
    ("particles", "event", "place"),
    [(1, False, "[1, 2]"), (2, False, "[1, 2] of particle "), (1, True, "[:, 2]")],
    ids=["one particle", "two", "summed over the rows"],
)
def test_an_index_is_one_of_the_shape_shown(particles, event, place):
    message, text = written(wide(None), wide(1, event), particles)
    assert f"numbers at {place}" in message
    assert f"<td>{place}" in text and "<td>[0, " in text


# -- a square matrix used untransposed ------------------------------------------------------------------


W = np.array([[1.0, 0.2], [0.7, 2.0]])


def linear(of):
    """`of` the inputs: a square matrix, and which of two probabilities each item has."""

    def model(w, which):
        q = pyro.sample("q", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        with pyro.plate("items", 3):
            pyro.sample("y", dist.Normal(of(q, w, which), 1.0), obs=torch.ones(3))

    def guide(w, which):
        k = pyro.param("k", w, constraint=dist.constraints.positive)
        pyro.sample("q", dist.Normal(k[0], k[1]).to_event(1))

    return Program(model, guide)


@pytest.mark.parametrize(
    ("first", "second", "is_named"),
    [
        (lambda q, w, i: (w @ q)[i], lambda q, w, i: (w.mT @ q)[i], True),
        (lambda q, w, i: q[i], lambda q, w, i: q[1 - i], False),
        (lambda q, w, i: (w @ q)[i], lambda q, w, i: (w @ q)[1 - i], False),
    ],
    ids=["untransposed", "only the guide has it", "another mistake"],
)
def test_a_square_matrix_is_named_only_where_its_transpose_mends(first, second, is_named):
    data = W, np.array([0, 1, 0])
    report = verify(linear(first), linear(second), args=data, seeds=(0,), stress=False)
    density = report.findings[0]
    assert (density.site, density.stage) == ("y", "density")
    assert ("args/0, a square matrix, is used untransposed" in density.message) == is_named
    assert "symmetric" not in density.message  # one transpose tells more
    assert "square" not in "".join(f.message for f in report.findings[1:])


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_a_latent_square_matrix_is_named_likewise(scale):
    def program(turn, noise=1.0):
        def model(x):
            w = pyro.sample("w", dist.Normal(torch.zeros(2, 2), 1.0).to_event(2))
            with pyro.plate("items", 2):
                mean = x @ (w.mT if turn else w)
                pyro.sample("y", dist.Normal(mean, noise).to_event(1), obs=x)

        return Program(model)

    report = verify(program(False), program(True, scale), args=(W,), seeds=(0,), stress=False)
    named = "w, a square matrix, is used untransposed" in report.findings[0].message
    assert report.findings[0].site == "y" and named == (scale == 1.0)  # else the noise differs, too


@pytest.mark.parametrize("masked", [True, False])
def test_what_is_observed_under_a_mask_is_nobodys_difference(masked):
    """The one program puts a number where the other keeps what is missing."""

    def program(filler):
        def model(y, seen):
            m = pyro.sample("m", dist.Normal(0.0, 1.0))
            y = torch.where(seen, y, torch.tensor(filler))
            with pyro.plate("items", 3), pyro.poutine.mask(mask=seen if masked else True):
                pyro.sample("y", dist.Normal(m, 1.0), obs=y)

        return Program(model)

    data = np.array([1.0, 2.0, 3.0]), np.array([True, False, True])
    report = verify(program(0.0), program(7.0), args=data, seeds=(0,), stress=False)
    assert report.ok == masked
    assert not masked or "masks leave it out" in report.findings[0].message


V = np.array([[0.3, -1.0], [0.4, 0.9]])


def layers(of):
    def model(w, v):
        q = pyro.sample("q", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        with pyro.plate("items", 2):
            pyro.sample("y", dist.Normal(of(q, w, v), 1.0), obs=torch.ones(2))

    return Program(model)


@pytest.mark.parametrize(
    ("second", "named"),
    [
        (
            lambda q, w, v: w.mT @ (w @ q).tanh() + v @ q,
            "One of args/0, args/1 is used untransposed",
        ),
        (lambda q, w, v: w.mT @ (w.mT @ q).tanh() + v.mT @ q, "One of args/0, args/1 is used unt"),
        (lambda q, w, v: w @ (w @ q).relu() + v @ q, None),
    ],
    ids=["one of two uses", "two matrices", "another function"],
)
def test_a_square_matrix_used_twice_or_two_of_them(second, named):
    right = layers(lambda q, w, v: w @ (w @ q).tanh() + v @ q)
    report = verify(right, layers(second), args=(W, V), seeds=(0,), stress=False)
    (density,) = (f.message for f in report.findings if f.stage == "density")
    assert (named in density) if named else ("untransposed" not in density)


# -- series of other lengths --------------------------------------------------------------------------------


def loop(length):
    def model():
        z = torch.tensor(0.0)
        for t in range(length):
            z = pyro.sample(f"z_{t}", dist.Normal(z, 1.0))

    return Program(model)


def stacked(length):
    def model():
        normal = numpyro.distributions.Normal
        scan(lambda z, _: (numpyro.sample("z", normal(z, 1.0)), None), 0.0, None, length=length)

    return Other(model)


@pytest.mark.parametrize(
    ("first", "second", "named"),
    [
        (loop(3), stacked(4), ["z_0", "z_1", "z_2", "z"]),
        (stacked(3), loop(4), ["z", "z_0", "z_1", "z_2", "z_3"]),
        (loop(3), loop(4), ["z_3"]),
    ],
    ids=["loop and scan", "scan and loop", "loops"],
)
def test_series_of_other_lengths_say_their_steps(first, second, named):
    report = verify(first, second, seeds=(0,), stress=False)
    found = [f for f in report.findings if f.stage == "sites"]
    assert [f.site for f in found] == named
    assert {(f.first, f.second) for f in found} == {("3 steps", "4 steps")}
    assert found[0].message.endswith("of 3 steps in the first program and of 4 steps in the second")
    assert report.verdict == "differs" and report.findings[0] == found[0]


# -- a gradient that a masked entry spoils ---------------------------------------------------------------


def masked(family, of=lambda x, ok: x):
    """Two of four entries are masked; `of` makes what is observed of them."""

    def model(x, ok):
        m = pyro.sample("m", dist.Normal(0.0, 0.5))
        with pyro.plate("items", 4), poutine.mask(mask=ok):
            pyro.sample("x", family(m, 1.0, validate_args=False), obs=of(x, ok))

    return Program(model, lambda x, ok: guide(x))


def replaced(x, ok):
    return torch.where(ok, x, 1.0)


@pytest.mark.parametrize(
    ("family", "entry", "second", "said"),
    [
        (dist.Normal, np.nan, replaced, "The first program's gradient .* entry of x is NaN under its mask"),
        (dist.LogNormal, 0.0, replaced, "entry of x is at or beyond the edge of the support under"),
        (dist.LogNormal, 0.0, lambda x, ok: x, "Both programs' gradient .* at or beyond the edge"),
        (dist.Normal, 0.5, lambda x, ok: -x, None),
    ],
    ids=["NaN", "edge", "both", "another mistake"],
)  # fmt: skip
def test_a_gradient_that_is_nan_names_the_masked_entry(family, entry, second, said):
    data = np.array([0.3, entry, entry, 1.2]), np.array([True, False, False, True])
    programs = masked(family), masked(family, second)
    findings = verify(*programs, args=data, seeds=(0,), stress=False).findings
    about = [f.message for f in findings if f.site == "loc"]
    assert len(about) == 1, findings
    assert re.search(said or "^differs", about[0])
    assert ("mask" in about[0]) == bool(said)


# -- what to wrap, and in which class --------------------------------------------------------------------


def pyro_model():
    pyro.sample("m", dist.Normal(0.0, 1.0))


def numpyro_model():
    numpyro.sample("m", numpyro.distributions.Normal(0.0, 1.0))


def through_a_helper():
    return numpyro_model()


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (pyro_model, Other(numpyro_model), "first program is the plain function 'pyro_model'.* pyro_impl.P"),
        (Program(pyro_model), through_a_helper, r"second program .*: numpyro_impl.Program\(through_"),
        (Program(numpyro_model), Other(pyro_model), "'numpyro_model' calls numpyro.* in numpyro_impl"),
        (Program(pyro_model), Other(partial(pyro_model)), "calls pyro, .* wrap it in pyro_impl"),
        (Program(pyro_model, numpyro_model), Other(numpyro_model), "guide 'numpyro_model' calls numpyro"),
        (make_program(np.eye(3), ProgramConfig(3, 1)), None, "is a twinplate.ReferenceProgram"),
        ((pyro_model, None), None, r"of type tuple; .*pyro_impl.Program\(model, guide\) or numpyro_impl"),
    ],
)  # fmt: skip
def test_what_to_wrap_and_in_which_class(first, second, said):
    with pytest.raises(InputError, match=said):
        verify(Case(first, second, seeds=(0,), stress=False))


# -- constraints by their names ---------------------------------------------------------------------------

CONSTRAINTS = dist.constraints


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        (
            CONSTRAINTS.positive,
            CONSTRAINTS.real,
            "another constraint: positive in the first program and real (the default) in the second",
        ),
        (
            CONSTRAINTS.interval(0.0, 5.0),
            CONSTRAINTS.unit_interval,
            "interval(0, 5) in the first program and unit_interval in the second",
        ),
        (
            CONSTRAINTS.positive,
            CONSTRAINTS.softplus_positive,
            "(softplus for exp), positive in the first program and softplus_positive in the second:",
        ),
    ],
    ids=["forgotten", "bounds", "map"],
)
def test_constraints_are_named(first, second, text):
    def made(constraint):
        def model():
            width = pyro.param("width", torch.tensor(0.5), constraint=constraint)
            pyro.sample("y", dist.Normal(0.0, width.abs()), obs=torch.tensor(1.0))

        return Program(model, lambda: None)

    report = verify(made(first), made(second), seeds=(0,), stress=False)
    assert text in report.findings[0].message, report
