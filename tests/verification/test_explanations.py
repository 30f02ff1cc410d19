"""Causes that are named: arguments of another kind, sites computed or summed out, steps, angles."""

import numpy as np
import numpyro
import numpyro.distributions as ndist
import numpyro.infer.autoguide as numpyro_guides
import pyro
import pyro.distributions as dist
import pyro.infer.autoguide as pyro_guides
import pytest
import torch
from jax import numpy as jnp
from numpyro.contrib.control_flow import scan

import numpyro_impl
from pyro_impl import Program
from twinplate import verify

COUNTS = torch.tensor([0.0, 3.0, 1.0])


def headline(first, second, **options):
    report = verify(first, second, seeds=(0,), stress=False, **options)
    return report.findings[0].message


def test_negative_binomials_in_two_parametrisations_are_one_distribution():
    """JAX's betaln is known to be right to 2e-6 only, whichever parameters the other program gives."""

    def pyro_model():
        mean = pyro.sample("mean", dist.LogNormal(1.0, 1.0))
        family = dist.NegativeBinomial(40.0, logits=(mean / 40.0).log())
        pyro.sample("y", family, obs=torch.tensor(3))

    def numpyro_model():
        mean = numpyro.sample("mean", ndist.LogNormal(1.0, 1.0))
        numpyro.sample("y", ndist.NegativeBinomial2(mean, 40.0), obs=3)

    report = verify(Program(pyro_model), numpyro_impl.Program(numpyro_model), stress=False)
    (note,) = (f for f in report.findings if f.stage == "density")
    assert report.ok and "betaln" in note.message


def test_a_site_that_one_program_reparametrises():
    def model():
        spread = pyro.sample("spread", dist.LogNormal(0.0, 1.0))
        pyro.sample("effect", dist.Normal(0.0, spread))

    def decentred():
        spread = pyro.sample("spread", dist.LogNormal(0.0, 1.0))
        raw = pyro.sample("effect_raw", dist.Normal(0.0, 1.0))
        pyro.deterministic("effect", spread * raw)

    told = headline(Program(model), Program(decentred))
    assert "second program computes effect from effect_raw" in told and "reparametrise both" in told
    assert "first program computes effect from effect_raw" in headline(
        Program(decentred), Program(model)
    )


@pytest.mark.parametrize("share", [0.3, 0.4])
def test_a_discrete_site_that_one_program_sums_out(share):
    def enumerated():
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        with pyro.plate("items", 3):
            on = pyro.sample("on", dist.Bernoulli(0.3), infer={"enumerate": "parallel"})
            pyro.sample("y", dist.Normal(m + 2 * on, 1.0), obs=COUNTS)

    def mixture():
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        of_parts = dist.Normal(torch.stack([m, m + 2]), 1.0)
        weights = dist.Categorical(torch.tensor([1 - share, share]))
        with pyro.plate("items", 3):
            pyro.sample("y", dist.MixtureSameFamily(weights, of_parts), obs=COUNTS)

    told = headline(Program(enumerated), Program(mixture))
    assert ("second program sums over its values" in told) == (
        share == 0.3
    )  # else the losses differ


def test_a_factor_given_as_a_covariance():
    factor = torch.tensor([[1.0, 0.0], [0.5, 0.75]])

    def model(**covariance):
        def of_it():
            with pyro.plate("items", 3):
                pyro.sample("z", dist.MultivariateNormal(torch.zeros(2), **covariance))

        return Program(of_it)

    covariance = factor @ factor.mT
    assert verify(model(scale_tril=factor), model(covariance_matrix=covariance), seeds=(0,)).ok
    told = headline(model(covariance_matrix=covariance), model(precision_matrix=covariance))
    assert "gives as precision_matrix what the first gives as covariance_matrix" in told


def rows(turn):
    def numpyro_model():
        moves = numpyro.sample("moves", ndist.Dirichlet(np.ones((2, 2))).to_event(1))
        numpyro.factor("y", np.arange(2.0) @ (moves.T if turn else moves) @ np.array([1.0, 3.0]))

    return numpyro_impl.Program(numpyro_model)


def test_a_latent_matrix_of_rows_that_sum_to_one_is_used_untransposed():
    assert "moves, a square matrix, is used untransposed" in headline(rows(False), rows(True))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (dist.HalfNormal(2.0), ndist.TruncatedNormal(0.0, 2.0, low=0.0)),
        (dist.Beta(1.0, 1.0), ndist.Uniform(0.0, 1.0)),
    ],
)
def test_supports_that_are_one_set_in_other_words(first, second):
    def numpyro_model():
        numpyro.sample("s", second)

    report = verify(Program(lambda: pyro.sample("s", first)), numpyro_impl.Program(numpyro_model))
    assert report.ok, report


def test_a_scan_beside_a_plate():
    y = np.arange(4.0)

    def model(y):
        c = pyro.sample("c", dist.Normal(0.0, 1.0))
        with pyro.plate("steps", 3):
            pyro.sample("y", dist.Normal(c * y[:-1], 1.0), obs=y[1:])

    def numpyro_model(y):
        c = numpyro.sample("c", ndist.Normal(0.0, 1.0))

        def step(before, now):
            numpyro.sample("y", ndist.Normal(c * before, 1.0), obs=now)
            return now, None

        scan(step, y[0], y[1:])

    told = headline(Program(model), numpyro_impl.Program(numpyro_model), args=(y,))
    assert "steps of a scan" in told and "y_0, y_1" in told


def test_vectorised_particles_of_a_program_that_counts_dims_from_the_left():
    def model():
        b = pyro.sample("b", dist.Normal(torch.zeros(2, 3), 1.0).to_event(2))
        with pyro.plate("items", 4):
            pyro.sample(
                "y",
                dist.Normal((b[[0, 1, 1, 0]] * torch.ones(4, 3)).sum(-1), 1.0),
                obs=torch.ones(4),
            )

    def guide():
        loc = pyro.param("loc", torch.zeros(2, 3))
        pyro.sample("b", dist.Normal(loc, 1.0).to_event(2))

    program = Program(model, guide)
    assert verify(program, program, seeds=(0,), stress=False).ok
    told = headline(program, program, particles=3, vectorize_particles=True)
    assert "index and sum from the right" in told


def effects(name, family, shift=0, size=3):
    def model(index):
        with numpyro.plate("groups", size):
            effect = numpyro.sample(name, ndist.Normal(0.0, 1.0))
        with numpyro.plate("items", 4):
            numpyro.sample("y", family(effect[index + shift], 0.5), obs=np.ones(4))

    return numpyro_impl.Program(model)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (
            effects("effect", ndist.Laplace),
            "It is Normal in the first program, Laplace in the second",
        ),
        (effects("u", ndist.Normal), "rename={'effect': 'u'}"),
        (effects("effect", ndist.Normal, shift=1), "only where args/0 is largest"),
        (effects("effect", ndist.Normal, size=4), "other plates"),
    ],
    ids=["another family", "another name", "an index too large", "another size"],
)
def test_a_mistake_at_one_site(other, told):
    index = np.array([0, 2, 1, 2])
    assert told in headline(effects("effect", ndist.Normal), other, args=(index,))


def test_a_plate_that_a_blocked_model_hides_from_its_guide():
    def numpyro_model():
        with numpyro.plate("groups", 3):
            numpyro.sample("effect", ndist.Normal(0.0, 1.0))

    def made(expose):
        hidden = numpyro.handlers.block(numpyro_model, expose=expose)
        return numpyro_impl.Program.build(lambda: (numpyro_model, numpyro_guides.AutoDelta(hidden)))

    right = made(["effect", "groups"])
    told = headline(right, made(["effect"]))
    assert "expose=[..., 'groups']" in told and "scan" not in told


def test_plates_that_are_built_before_they_are_entered():
    def crossed(**dims):
        def numpyro_model():
            rows = numpyro.plate("rows", 3, dim=dims.get("rows"))
            columns = numpyro.plate("columns", 3, dim=dims.get("columns"))
            with rows, columns:
                numpyro.sample("y", ndist.Normal(0.0, 1.0))

        return numpyro_impl.Program(numpyro_model)

    told = headline(crossed(rows=-2, columns=-1), crossed())
    assert told.startswith("is in other plates. Plates columns and rows share a dim")
    assert "when it is built" in told and "or give them dim=" in told


def test_a_batched_automatic_guide_in_place_of_one_of_items():
    def numpyro_model():
        with numpyro.plate("items", 3):
            u = numpyro.sample("u", ndist.Normal(0.0, 1.0))
            numpyro.sample("v", ndist.Normal(u, 1.0))

    def by_hand():
        loc = numpyro.param("loc", jnp.zeros(3))
        with numpyro.plate("items", 3):
            for name in ("u", "v"):
                numpyro.sample(name, ndist.Normal(loc, 1.0))

    batched = numpyro_impl.Program.build(
        lambda: (numpyro_model, numpyro_guides.AutoBatchedMultivariateNormal(numpyro_model))
    )
    told = headline(numpyro_impl.Program(numpyro_model, by_hand), batched)
    assert "numbers of different items" in told and "by hand" in told


def test_a_gradient_that_a_branch_spoils():
    def program(filler):
        def numpyro_model(y):
            m = numpyro.sample("m", ndist.Normal(0.0, 1.0))
            safe = jnp.where(y > 0, y, filler)
            numpyro.factor("y", jnp.where(y > 0, m * jnp.log(safe), 0.0).sum())

        return numpyro_impl.Program(numpyro_model)

    told = headline(program(1.0), program(0.0), args=(np.array([0.0, 2.0]),))
    assert "perhaps a where" in told and "stop_gradient" not in told


def test_whole_numbers_that_a_bernoulli_observes():
    def model(y):
        q = pyro.sample("q", dist.Normal(0.0, 1.0))
        with pyro.plate("items", 2):
            pyro.sample("y", dist.Bernoulli(logits=q), obs=y)

    def numpyro_model(y):
        q = numpyro.sample("q", ndist.Normal(0.0, 1.0))
        with numpyro.plate("items", 2):
            numpyro.sample("y", ndist.Bernoulli(logits=q), obs=y)

    programs = Program(model), numpyro_impl.Program(numpyro_model)
    assert "give the data as floats" in headline(*programs, args=(np.array([0, 1]),))
    assert verify(*programs, args=(np.array([0.0, 1.0]),), seeds=(0,), stress=False).ok


@pytest.mark.parametrize("guide", ["AutoNormal", "AutoMultivariateNormal", "AutoDelta"])
def test_an_angle_of_an_automatic_guide(guide):
    def model():
        pyro.sample("wind", dist.VonMises(0.5, 2.0))

    def numpyro_model():
        numpyro.sample("wind", ndist.VonMises(0.5, 2.0))

    told = headline(
        Program.build(lambda: (model, getattr(pyro_guides, guide)(model))),
        numpyro_impl.Program.build(
            lambda: (numpyro_model, getattr(numpyro_guides, guide)(numpyro_model))
        ),
    )
    assert "angle 'wind'" in told and "by hand" in told


# -- casts of arguments ------------------------------------------------------------------------------------

X = np.array([0.3, -1.2, 0.7, 2.1])
N = np.array([2, 0, 5, 1])


def regression(of_x=lambda x: x, of_n=lambda n: n, slope=1.0):
    """Counts `n` of `x`, each given to the distribution by a function of it."""

    def model(x, n):
        b = pyro.sample("b", dist.Normal(0.0, 1.0))
        with pyro.plate("items", 4):
            pyro.sample("n", dist.Poisson((slope * b * of_x(x)).exp()), obs=of_n(n))

    return Program(model)


def numpyro_regression(x, n):
    b = numpyro.sample("b", ndist.Normal(0.0, 1.0))
    with numpyro.plate("items", 4):
        numpyro.sample("n", ndist.Poisson(jnp.exp(b * x)), obs=n)


@pytest.mark.parametrize(
    "casts",
    [
        {"of_x": lambda x: x.float()},
        {"of_x": lambda x: x.to(torch.float32)},
        {"of_x": lambda x: torch.from_numpy(X).float()},
        {"of_x": lambda x: torch.tensor(X, dtype=torch.float32)},
        {"of_n": lambda n: n.float()},
    ],
    ids=["float", "to", "from_numpy", "tensor", "counts"],
)
@pytest.mark.parametrize("is_first", [True, False])
def test_a_cast_in_torch_says_what_to_do(casts, is_first):
    pair = regression(**casts), numpyro_impl.Program(numpyro_regression)
    said = headline(*(pair if is_first else pair[::-1]), args=(X, N))
    assert "(.float() or dtype=torch.float32): leave the dtype to the inputs" in said
    assert ("first" if is_first else "second") in said or "the pyro program" in said


def test_a_cast_is_no_cause_of_a_difference_that_is_not_small():
    spoilt = regression(of_x=lambda x: x.float(), slope=1.5)
    said = headline(spoilt, numpyro_impl.Program(numpyro_regression), args=(X, N))
    assert "rate differs" in said and "cast" not in said
