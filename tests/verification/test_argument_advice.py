"""What is said of a distribution whose arguments are exchanged, turned round or not normalised."""

from typing import ClassVar

import numpy as np
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as dist
import pytest
import torch

import numpyro_impl
from pyro_impl import Program
from twinplate import verify

COUNTS = torch.tensor([0.0, 3.0, 1.0])


def headline(first, second, **options):
    report = verify(first, second, seeds=(0,), stress=False, **options)
    return report.findings[0].message


def counted(distribution):
    def model():
        q = pyro.sample("q", dist.Beta(2.0, 3.0))
        with pyro.plate("items", 3):
            pyro.sample("y", distribution(q), obs=COUNTS)

    return Program(model)


@pytest.mark.parametrize(
    ("first", "second", "name"),
    [
        (
            lambda q: dist.NegativeBinomial(2.0, probs=q),
            lambda q: dist.NegativeBinomial(2.0, logits=(1 - q).logit()),
            "probs",
        ),
        (
            lambda q: dist.ZeroInflatedPoisson(1.5, gate=q),
            lambda q: dist.ZeroInflatedPoisson(1.5, gate=(1 - q).expand([3])),
            "gate",
        ),
        (lambda q: dist.Geometric(q), lambda q: dist.Geometric(0.9 * q), None),
    ],
)
def test_the_probability_of_the_opposite(first, second, name):
    told = headline(counted(first), counted(second))
    assert ("1 - the first's" in told) == (name is not None)
    assert name is None or f"second program's {name}" in told


@pytest.mark.parametrize(
    ("distribution", "told"),
    [
        (lambda m, k: ndist.NegativeBinomial2(k, m), "mean and the concentration"),
        (lambda m, k: ndist.GammaPoisson(m, m / k), "mean and the concentration"),
        (lambda m, k: ndist.NegativeBinomialProbs(k, k / (m + k)), "probs are 1 - the first's"),
    ],
)
def test_the_mean_and_the_concentration_of_a_negative_binomial_are_swapped(distribution, told):
    """Its probs are 1 - the first's then, too, but that is not all that differs."""

    def pyro_model(y):
        mean, size = (pyro.sample(n, dist.LogNormal(1.0, 0.5)) for n in ("mean", "size"))
        with pyro.plate("items", 3):
            pyro.sample("y", dist.GammaPoisson(size, size / mean), obs=y)

    def numpyro_model(y):
        mean, size = (numpyro.sample(n, ndist.LogNormal(1.0, 0.5)) for n in ("mean", "size"))
        with numpyro.plate("items", 3):
            numpyro.sample("y", distribution(mean, size), obs=y)

    programs = Program(pyro_model), numpyro_impl.Program(numpyro_model)
    assert told in headline(*programs, args=(np.array([1.0, 0.0, 4.0]),))


@pytest.mark.parametrize(
    ("second", "is_advised"), [([1.0, 2.0, 1.0], True), ([1.0, 1.0, 1.0], False)]
)
def test_probs_are_to_be_divided_by_their_sum_only_where_their_shares_agree(second, is_advised):
    def pyro_model():
        pyro.sample("y", dist.Categorical(torch.tensor([0.25, 0.5, 0.25])), obs=torch.tensor(1))

    def numpyro_model():
        numpyro.sample("y", ndist.Categorical(np.array(second), validate_args=False), obs=1)

    told = headline(Program(pyro_model), numpyro_impl.Program(numpyro_model))
    assert ("divide by their sum" in told) == is_advised
    assert is_advised or "Its probs differ" in told


class Truncated(dist.TorchDistribution):
    """A normal above zero, as somebody writes it for Pyro, which has none."""

    arg_constraints: ClassVar = {"loc": dist.constraints.real, "scale": dist.constraints.positive}
    support = dist.constraints.positive

    def __init__(self, loc, scale):
        self.loc, self.scale = torch.broadcast_tensors(loc, torch.as_tensor(scale, dtype=loc.dtype))
        super().__init__(self.loc.shape, validate_args=False)

    def log_prob(self, value):
        mass = torch.special.log_ndtr(self.loc / self.scale)
        return dist.Normal(self.loc, self.scale).log_prob(value) - mass


@pytest.mark.parametrize(
    ("draw", "scale", "told"),
    [
        (-50.0, 1.0, "NumPyro's LeftTruncatedDistribution is infinite"),
        (-2.0, 1.1, "differs (1 of 1 numbers)"),
    ],
)
def test_a_truncated_normal_that_has_lost_its_mass_is_no_mistake_of_the_port(draw, scale, told):
    """And the names of two truncated classes are no difference."""

    def pyro_model(y):
        pyro.sample("y", Truncated(pyro.sample("x", dist.Normal(0.0, 1.0)), 1.0), obs=y)

    def numpyro_model(y):
        x = numpyro.sample("x", ndist.Normal(0.0, 1.0))
        numpyro.sample("y", ndist.TruncatedNormal(x, scale, low=0.0), obs=y)

    programs = Program(pyro_model), numpyro_impl.Program(numpyro_model)
    message = headline(*programs, args=(np.array(0.5),), draws={"x": np.array(draw)})
    assert told in message and "in the first program" not in message


def test_arguments_in_the_plural_differ():
    def cut(last):
        def model():
            x = numpyro.sample("x", ndist.Normal(0.0, 1.0))
            numpyro.sample("y", ndist.OrderedLogistic(x, np.array([-1.0, last])), obs=1)

        return numpyro_impl.Program(model)

    assert headline(cut(1.0), cut(1.5)).endswith("Its cutpoints differ")
