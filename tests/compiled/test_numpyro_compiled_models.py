"""Random static programs: whatever the model, its compiled run is NumPyro's, and so are many at once."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from hypothesis import HealthCheck, given, settings
from jax import random
from numpyro import handlers, infer
from numpyro.distributions import constraints
from numpyro.infer import SVI
from numpyro_runs import assert_same
from random_programs import ITEMS, plans

from numpyro_impl import CompiledSVI

pytestmark = pytest.mark.usefixtures("x64", "short_chunks")

PRIORS = {
    "normal": lambda parent: dist.Normal(parent, 1.3),
    "gamma": lambda parent: dist.Gamma(2.0 + jnp.abs(parent), 1.5),
    "beta": lambda parent: dist.Beta(1.5, 1.0 + jnp.abs(parent)),
    "half-cauchy": lambda parent: dist.HalfCauchy(1.0 + jnp.abs(parent)),
    "student": lambda parent: dist.StudentT(5.0, parent, 1.0),
    "lognormal": lambda parent: dist.LogNormal(0.2 * parent, 0.4),
}
LIKELIHOODS = {
    "normal": lambda mean: dist.Normal(mean, 0.8),
    "poisson": lambda mean: dist.Poisson(jnp.exp(jnp.clip(mean, -3, 3))),
    "bernoulli": lambda mean: dist.Bernoulli(logits=mean),
    "laplace": lambda mean: dist.Laplace(mean, 1.2),
}


def built(plan):
    """`make(kind)` makes an SVI of the plan's program, of this kind."""

    def model(x):
        parent = jnp.zeros(())
        if plan.with_param:
            parent = numpyro.param("bias", 0.3, constraint=constraints.positive)
        for i, name in enumerate(plan.chain):
            parent = numpyro.sample(f"z{i}", PRIORS[name](parent))
        with numpyro.plate("items", ITEMS):
            mean = parent * x
            if plan.local:
                mean = mean + numpyro.sample("local", dist.Normal(0.0, 0.5))
            fn = LIKELIHOODS[plan.likelihood](mean)
            mask = (jnp.arange(ITEMS) % 2 == 0) | (not plan.masked)
            with handlers.mask(mask=mask), handlers.scale(scale=plan.scale or 1.0):
                numpyro.sample("x", fn, obs=(x > 0).astype(x.dtype))

    def make(kind):
        loss = getattr(infer, plan.loss)(
            num_particles=plan.particles, vectorize_particles=plan.vectorised
        )
        guide = getattr(infer.autoguide, plan.guide)(model)
        return kind(model, guide, numpyro.optim.Adam(0.02), loss)

    return make


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Failed to verify mean field restriction")
@pytest.mark.filterwarnings("ignore::twinplate.WrongLossWarning")
@settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(plans().map(built))
def test_runs_of_a_random_program_are_numpyros(make):
    x, keys = jnp.linspace(-1, 1.5, ITEMS), random.split(random.key(5), 2)
    expected = make(SVI).run(keys[1], 6, x, progress_bar=False)
    found = make(CompiledSVI).run(keys[1], 6, x, progress_bar=False)
    assert_same(found, expected)
    many = make(CompiledSVI).run_many(keys, 6, x)
    np.testing.assert_allclose(many.losses[1], expected.losses, rtol=1e-8)
    second = jax.tree.map(lambda leaf: leaf[1], (many.params, many.states))
    assert_same(second, (expected.params, expected.state), rtol=1e-8)
