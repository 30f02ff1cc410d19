"""A framework's own inaccuracy is a note, and hides no mistake at the site where it is."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as pdist
import pytest
import torch

from numpyro_impl.recording.program import Program as NumpyroProgram
from pyro_impl.recording.program import Program as PyroProgram
from twinplate import Case, verify

rng = np.random.default_rng(50)
counts = rng.negative_binomial(9.0, 0.3, size=30).astype(float)
angles = rng.vonmises(0.5, 3.0, size=30)
EXACT = {"size": 1.0, "chance": 1.0, "tight": 1.0, "shift": 0.0, "count": 0.0}


def pyro_model(counts, angles):
    size = pyro.sample("size", pdist.LogNormal(2.2, 0.1))
    chance = pyro.sample("chance", pdist.Beta(7.0, 3.0))
    tight = pyro.sample("tight", pdist.LogNormal(1.0, 0.1))
    with pyro.plate("items", len(counts)):
        pyro.sample("counts", pdist.NegativeBinomial(size, probs=chance), obs=counts)
        pyro.sample("angles", pdist.VonMises(torch.tensor(0.5), tight), obs=angles)


def pyro_guide(counts, angles):
    pyro.sample("size", pdist.LogNormal(pyro.param("a", torch.tensor(2.2)), 0.1))
    pyro.sample("chance", pdist.Beta(7.0, 3.0))
    pyro.sample("tight", pdist.LogNormal(pyro.param("b", torch.tensor(1.0)), 0.1))


def numpyro_program(spoilt):
    """The same; `spoilt` has factors and summands, 1 and 0 where they are right."""
    by = {**EXACT, **spoilt}

    def model(counts, angles):
        size = numpyro.sample("size", ndist.LogNormal(2.2, 0.1))
        chance = numpyro.sample("chance", ndist.Beta(7.0, 3.0))
        tight = numpyro.sample("tight", ndist.LogNormal(1.0, 0.1))
        counts = counts + by["count"] * (jnp.arange(len(counts)) == 3)
        with numpyro.plate("items", len(counts)):
            family = ndist.NegativeBinomialProbs(by["size"] * size, by["chance"] * chance)
            numpyro.sample("counts", family, obs=counts)
            family = ndist.VonMises(0.5 + by["shift"], by["tight"] * tight)
            numpyro.sample("angles", family, obs=angles)

    def guide(counts, angles):
        numpyro.sample("size", ndist.LogNormal(numpyro.param("a", 2.2), 0.1))
        numpyro.sample("chance", ndist.Beta(7.0, 3.0))
        numpyro.sample("tight", ndist.LogNormal(numpyro.param("b", 1.0), 0.1))

    return NumpyroProgram(model, guide)


def report_of(**spoilt):
    first = PyroProgram(pyro_model, pyro_guide)
    return verify(first, numpyro_program(spoilt), args=(counts, angles), seeds=(0, 1))


def test_inaccuracies_are_notes_and_say_whose_they_are() -> None:
    report = report_of()
    assert report.verdict == "same", report
    notes = {f.site: f.message for f in report.findings if f.stage == "density"}
    assert "NumPyro's NegativeBinomialProbs is inaccurate" in notes["counts"]
    assert "Pyro's VonMises is inaccurate" in notes["angles"]


@pytest.mark.parametrize(
    ("spoilt", "site"),
    [
        ({"size": 1 + 1e-8}, "counts"),
        pytest.param({"chance": 1 - 1e-8}, "counts", marks=pytest.mark.slow),
        pytest.param({"count": 1.0}, "counts", marks=pytest.mark.slow),
        pytest.param({"tight": 1 + 1e-8}, "angles", marks=pytest.mark.slow),
        ({"shift": 1e-8}, "angles"),
    ],
)
def test_a_mistake_below_the_inaccuracy_is_found_beside_it(spoilt, site) -> None:
    """All of these move the density by less than the framework's own error, but for the count."""
    report = report_of(**spoilt)
    assert report.verdict == "differs"
    assert (report.findings[0].program, report.findings[0].site) == ("model", site)


def test_cases_need_no_stress_to_be_excused() -> None:
    case = Case(
        PyroProgram(pyro_model, pyro_guide),
        numpyro_program({}),
        args=(counts, angles),
        seeds=(3,),
        stress=False,
    )
    assert verify(case).ok


# -- the edge of the support ---------------------------------------------------------------------------


def pyro_at_the_edge(counts, angles, labels):
    with pyro.plate("items", 8):
        q = pyro.sample("q", pdist.Beta(torch.tensor(0.02), torch.tensor(0.02)))
        pyro.sample("y", pdist.Binomial(10, q), obs=counts)
        w = pyro.sample("w", pdist.Dirichlet(torch.tensor([0.02, 0.05, 0.1])))
        pyro.sample("z", pdist.Categorical(w), obs=labels)
        rate = pyro.sample("rate", pdist.Gamma(torch.tensor(0.001), torch.tensor(1.0)))
        pyro.sample("x", pdist.Normal(0.0, rate), obs=angles)


def numpyro_at_the_edge(counts, angles, labels):
    with numpyro.plate("items", 8):
        q = numpyro.sample("q", ndist.Beta(0.02, 0.02))
        numpyro.sample("y", ndist.Binomial(10, q), obs=counts)
        w = numpyro.sample("w", ndist.Dirichlet(jnp.array([0.02, 0.05, 0.1])))
        numpyro.sample("z", ndist.Categorical(w), obs=labels)
        rate = numpyro.sample("rate", ndist.Gamma(0.001, 1.0))
        numpyro.sample("x", ndist.Normal(0.0, rate), obs=angles)


def test_draws_at_the_edge_of_their_support_are_no_difference() -> None:
    """These priors draw within rounding of 0 and 1, where Pyro clamps and NumPyro does not."""
    args = (counts[:8] % 11, angles[:8], np.arange(8) % 3)
    programs = PyroProgram(pyro_at_the_edge), NumpyroProgram(numpyro_at_the_edge)
    report = verify(*programs, args=args, seeds=(0,))
    assert report.verdict == "same", report
    assert not [f for f in report.findings if f.stage in ("density", "loss", "gradient")]


# -- derivatives ---------------------------------------------------------------------------------------


def pyro_divergences():
    a = pyro.param("a", torch.tensor(1.3), constraint=pdist.constraints.positive)
    c = pyro.param("c", torch.tensor([1.1, 2.0, 4.0]), constraint=pdist.constraints.positive)
    pyro.sample("rate", pdist.Gamma(a, 1.0))
    pyro.sample("w", pdist.Dirichlet(c))


def pyro_priors():
    pyro.sample("rate", pdist.Gamma(2.0, 2.0))
    pyro.sample("w", pdist.Dirichlet(torch.tensor([1.0, 3.0, 5.0])))


def numpyro_divergences():
    a = numpyro.param("a", 1.3, constraint=ndist.constraints.positive)
    c = numpyro.param("c", jnp.array([1.1, 2.0, 4.0]), constraint=ndist.constraints.positive)
    numpyro.sample("rate", ndist.Gamma(a, 1.0))
    numpyro.sample("w", ndist.Dirichlet(c))


def numpyro_priors():
    numpyro.sample("rate", ndist.Gamma(2.0, 2.0))
    numpyro.sample("w", ndist.Dirichlet(jnp.array([1.0, 3.0, 5.0])))


def test_the_gradient_of_a_divergence_is_as_good_as_torchs_trigamma() -> None:
    """The closed forms are the same: sums of digammas, whose derivatives torch has right to 5e-10."""
    programs = (
        PyroProgram(pyro_priors, pyro_divergences),
        NumpyroProgram(numpyro_priors, numpyro_divergences),
    )
    report = verify(*programs, loss="TraceMeanField_ELBO", seeds=(0, 1), stress=False)
    assert report.verdict == "same", report
    messages = [f.message for f in report.findings if f.stage == "gradient"]
    assert messages and all("derivative of torch's digamma" in m for m in messages)


def test_a_betaln_of_the_programs_own_is_named_and_that_of_a_family_is_not() -> None:
    """JAX's is right to 2e-6 where an argument is 8 or more; the families that call it have entries."""

    def pyro_own(count):
        a = pyro.sample("a", pdist.Gamma(2.0, 1.0))
        nine = torch.tensor(9.0)
        pyro.factor("f", torch.lgamma(a) + torch.lgamma(nine) - torch.lgamma(a + nine))
        pyro.sample("count", pdist.BetaBinomial(a, 9.0, 12), obs=count)

    def numpyro_own(count, is_own=True):
        a = numpyro.sample("a", ndist.Gamma(2.0, 1.0))
        if is_own:
            numpyro.factor("f", jax.scipy.special.betaln(a, 9.0))
        numpyro.sample("count", ndist.BetaBinomial(a, 9.0, 12), obs=count)

    program = NumpyroProgram(numpyro_own)
    report = verify(PyroProgram(pyro_own), program, args=(np.array(3.0),), seeds=(0,))
    assert report.verdict == "same", report
    assert "JAX's betaln" in next(f.message for f in report.findings if f.site == "f")
    assert "betaln" in report.second.operations
    assert (
        "betaln" not in program.record((np.array(3.0), False), seeds=(0,), stress=False).operations
    )


# -- concentrations beyond 1e4, whose logarithm is the latent ---------------------------------------------

LARGE = {
    "Beta": (lambda lib, a, by: lib.Beta(a, by * a), 0.5),
    "StudentT": (lambda lib, a, by: lib.StudentT(a, 0.0, by), 1.3),
    "GammaPoisson": (lambda lib, a, by: lib.GammaPoisson(a, by * a / 10.0), 12.0),
    "BetaBinomial": (lambda lib, a, by: lib.BetaBinomial(a, by * 2.0, 6), 4.0),
}


def of_large(family, by=1.0):
    """Report on both programs; in the second the other argument is `by` times what it should be."""
    make, value = LARGE[family]

    def pyro_model(x):
        a = pyro.sample("b", pdist.Normal(25.0, 1.0)).exp()
        pyro.sample("x", make(pdist, a, 1.0), obs=x)

    def numpyro_model(x):
        a = jnp.exp(numpyro.sample("b", ndist.Normal(25.0, 1.0)))
        numpyro.sample("x", make(ndist, a, by), obs=x)

    programs = PyroProgram(pyro_model), NumpyroProgram(numpyro_model)
    return verify(*programs, args=(np.array(value),), seeds=(0, 1))


@pytest.mark.parametrize("family", LARGE)
def test_the_gradient_in_a_large_concentration_is_as_good_as_digamma_times_it(family) -> None:
    """The parameter is its logarithm, whose gradient has the error of that in the concentration times it."""
    report = of_large(family)
    assert report.verdict in ("same", "undecided"), report  # a density may be beyond judging
    assert {f.level for f in report.findings if f.stage == "gradient"} <= {"note"}
    assert any("inaccura" in f.message for f in report.findings)
    assert of_large(family, by=1.01).verdict == "differs"


def test_counts_of_a_dirichlet_with_one_large_concentration() -> None:
    counts = np.array([1.0, 2.0, 3.0])

    def pyro_model(counts):
        b = pyro.sample("b", pdist.Normal(30.0, 1.0))
        a = torch.stack([b.exp(), torch.ones_like(b), torch.ones_like(b)], -1)
        pyro.sample("counts", pdist.DirichletMultinomial(a, total_count=6), obs=counts)

    def numpyro_model(counts, second=1.0):
        b = numpyro.sample("b", ndist.Normal(30.0, 1.0))
        a = jnp.stack([jnp.exp(b), second, 1.0])
        numpyro.sample("counts", ndist.DirichletMultinomial(a, 6), obs=counts)

    def report_of(second):
        return verify(PyroProgram(pyro_model), NumpyroProgram(second), args=(counts,))

    # Its density cannot be judged in any draw: -151 or -151.25
    levels = {f.stage: f.level for f in report_of(numpyro_model).findings}
    assert levels == {"density": "undecided", "loss": "undecided", "gradient": "note"}
    assert report_of(lambda counts: numpyro_model(counts, 1.5)).verdict == "differs"


# -- where a density has no bound, and a gradient is not a number -----------------------------------------


def of_geometric(by_logits, at, y, second=lambda b: b):
    def pyro_model(y):
        b = pyro.sample("b", pdist.Normal(0.0, 20.0))
        fn = pdist.Geometric(logits=b) if by_logits else pdist.Geometric(torch.sigmoid(b))
        with pyro.plate("items", 2):
            pyro.sample("y", fn, obs=y)

    def numpyro_model(y):
        b = second(numpyro.sample("b", ndist.Normal(0.0, 20.0)))
        fn = ndist.Geometric(logits=b) if by_logits else ndist.Geometric(jax.nn.sigmoid(b))
        with numpyro.plate("items", 2):
            numpyro.sample("y", fn, obs=y)

    programs = PyroProgram(pyro_model), NumpyroProgram(numpyro_model)
    return verify(*programs, args=(y,), seeds=(0, 1), draws={"b": np.array(at)}, stress=False)


def test_a_gradient_that_is_not_a_number_beyond_all_bounds_is_undecided() -> None:
    """At probabilities that are 1 NumPyro's density is -inf, and its gradient not a number."""
    report = of_geometric(False, 38.0, np.array([1.0, 2.0]))
    assert report.verdict == "undecided", report
    assert "It cannot be judged there" in report.findings[0].message


def test_an_allowance_serves_what_is_undecided_and_not_what_another_argument_makes() -> None:
    """Both cannot be raised to double precision: they are zero but for rounding."""
    assert of_geometric(True, 31.0, np.zeros(2)).verdict == "same"
    assert of_geometric(True, 31.0, np.zeros(2), lambda b: b - 10.0).verdict != "same"


def test_a_gradient_that_is_not_a_number_where_a_bound_holds_differs() -> None:
    """The counts allow the gradient a millionth of its size, which NaN is not within."""

    def pyro_model(visits):
        size = pyro.sample("size", pdist.LogNormal(0.0, 0.5))
        with pyro.plate("items", len(visits)):
            pyro.sample("visits", pdist.GammaPoisson(size, size / 20.0), obs=visits)

    def numpyro_model(visits):
        size = numpyro.sample("size", ndist.LogNormal(0.0, 0.5))
        trap = jnp.where(
            size > 0.0, size, jnp.sqrt(-size)
        )  # the branch not taken has no derivative
        with numpyro.plate("items", len(visits)):
            numpyro.sample("visits", ndist.GammaPoisson(trap, size / 20.0), obs=visits)

    visits = np.array([12.0, 0.0, 3.0])
    report = verify(PyroProgram(pyro_model), NumpyroProgram(numpyro_model), args=(visits,))
    assert report.verdict == "differs"
    assert report.findings[0].stage == "gradient" and report.findings[0].second == "nan"


# -- large exponents --------------------------------------------------------------------------------------


def test_a_kumaraswamy_of_a_large_concentration_has_no_density_left_in_torch() -> None:
    """1 - x**a is 1 below 2⁻⁵³, an edge of the uniform behind it; NumPyro's is exact: -50.3 there."""

    def pyro_model(x):
        a = pyro.sample("a", pdist.LogNormal(4.0, 0.3))
        with pyro.plate("items", 1):
            pyro.sample("x", pdist.Kumaraswamy(a, 0.7), obs=x)

    def numpyro_model(x, other=0.7):
        a = numpyro.sample("a", ndist.LogNormal(4.0, 0.3))
        with numpyro.plate("items", 1):
            numpyro.sample("x", ndist.Kumaraswamy(a, other), obs=x)

    def report_of(at, second):
        programs = PyroProgram(pyro_model), NumpyroProgram(second)
        draws = {"a": np.array(at)}
        return verify(*programs, args=(np.array([0.4]),), seeds=(0,), draws=draws, stress=False)

    report = report_of(60.0, numpyro_model)
    assert report.verdict == "same", report
    assert report.findings[0].first == "-inf"
    assert report_of(60.0, lambda x: numpyro_model(x, 0.70001)).verdict == "differs"
    assert report_of(30.0, numpyro_model).findings == ()


def test_a_weibull_whose_density_is_beyond_double_precision_hides_no_mistake() -> None:
    """At the stress draw it is -4e363: torch makes NaN of it, NumPyro -inf."""
    times = np.array([1.0, 2.0, 3.0])

    def pyro_model(times):
        shape = pyro.sample("shape", pdist.Gamma(2.0, 1.0))
        size = pyro.sample("size", pdist.Normal(0.0, 2.0)).exp()
        with pyro.plate("items", 3):
            pyro.sample("times", pdist.Weibull(size, shape), obs=times)
        pyro.factor("censored", -((2.0 / size) ** shape))

    def numpyro_model(times, sign=-1.0):
        shape = numpyro.sample("shape", ndist.Gamma(2.0, 1.0))
        size = jnp.exp(numpyro.sample("size", ndist.Normal(0.0, 2.0)))
        with numpyro.plate("items", 3):
            numpyro.sample("times", ndist.Weibull(size, shape), obs=times)
        numpyro.factor("censored", sign * (2.0 / size) ** shape)

    def report_of(second):
        # The stress draw has a shape of 430 and a size of 0.1
        return verify(PyroProgram(pyro_model), NumpyroProgram(second), args=(times,))

    report = report_of(numpyro_model)
    assert report.verdict == "same", report
    beyond = [f for f in report.findings if "beyond double precision" in f.message]
    assert {f.stage for f in beyond} == {"density", "loss", "gradient"}
    wrong = report_of(lambda times: numpyro_model(times, 1.0)).findings[0]
    assert (wrong.level, wrong.site, wrong.draw) == ("difference", "censored", "0")
