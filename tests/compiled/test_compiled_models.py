"""Random static programs: whatever the model, its replayed steps are Pyro's."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from compiled_runs import steps_of
from hypothesis import HealthCheck, given, settings
from pyro import infer, poutine
from pyro.infer import SVI
from random_programs import ITEMS, plans
from torch.distributions import constraints

from pyro_impl import CompiledSVI

pytestmark = pytest.mark.usefixtures("own_world")

PRIORS = {
    "normal": lambda parent: dist.Normal(parent, 1.3),
    "gamma": lambda parent: dist.Gamma(2.0 + parent.abs(), 1.5),
    "beta": lambda parent: dist.Beta(1.5, 1.0 + parent.abs()),
    "half-cauchy": lambda parent: dist.HalfCauchy(1.0 + parent.abs()),
    "student": lambda parent: dist.StudentT(5.0, parent, 1.0),
    "lognormal": lambda parent: dist.LogNormal(0.2 * parent, 0.4),
}
LIKELIHOODS = {
    "normal": lambda mean: dist.Normal(mean, 0.8),
    "poisson": lambda mean: dist.Poisson(mean.clamp(-3, 3).exp()),
    "bernoulli": lambda mean: dist.Bernoulli(logits=mean),
    "laplace": lambda mean: dist.Laplace(mean, 1.2),
}


def built(plan):
    """(model, guide, loss) of a plan."""
    mask = torch.arange(ITEMS) % 2 == 0

    def model(x):
        parent = torch.zeros(())
        if plan.with_param:
            positive = constraints.positive
            parent = pyro.param("bias", torch.tensor(0.3), constraint=positive)
        for i, name in enumerate(plan.chain):
            parent = pyro.sample(f"z{i}", PRIORS[name](parent))
        with pyro.plate("items", ITEMS):
            mean = parent * x
            if plan.local:
                mean = mean + pyro.sample("local", dist.Normal(0.0, 0.5))
            fn = LIKELIHOODS[plan.likelihood](mean)
            with poutine.mask(mask=mask if plan.masked else torch.ones(ITEMS, dtype=torch.bool)):
                observed = (x > 0).to(x.dtype)
                if plan.scale is None:
                    pyro.sample("x", fn, obs=observed)
                else:
                    with poutine.scale(scale=plan.scale):
                        pyro.sample("x", fn, obs=observed)

    loss = lambda: getattr(infer, plan.loss)(
        num_particles=plan.particles, vectorize_particles=plan.vectorised, max_plate_nesting=1
    )
    return model, getattr(infer.autoguide, plan.guide), loss


def run(kind, program):
    model, guide, loss = program
    pyro.clear_param_store()
    pyro.set_rng_seed(5)
    svi = kind(model, guide(model), pyro.optim.Adam({"lr": 0.02}), loss())
    x = torch.linspace(-1, 1.5, ITEMS)
    losses = [svi.step(x) for _ in range(5)]
    return losses, [p.detach().clone() for _, p in pyro.get_param_store().named_parameters()], svi


@pytest.mark.filterwarnings("ignore:Failed to verify mean field restriction")
@pytest.mark.filterwarnings("ignore::twinplate.WrongLossWarning")
@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(plans().map(built))
def test_replayed_steps_of_a_random_program_are_pyros(program):
    expected, parameters, _ = run(SVI, program)
    losses, found, svi = run(CompiledSVI, program)
    (step,) = steps_of(svi)
    assert step.taken == 3 and losses == expected
    assert all(map(torch.equal, found, parameters))
