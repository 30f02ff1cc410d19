"""The automatic guide in CompiledSVI: the same losses as in stock SVI, and nothing runs eagerly."""

from __future__ import annotations

import warnings


def test_compiled_steps_are_those_of_stock_svi(own_world, interpreted):
    import pyro
    import torch
    from pyro.distributions import LogNormal, Normal

    from pyro_impl import AutoAmortizedNormal, CompiledSVI

    x = torch.randn(40, 3)

    def model(x, batch_size=None):
        spread = pyro.sample("spread", LogNormal(0.0, 1.0))
        with pyro.plate("items", len(x), batch_size, dim=-1):
            y = pyro.subsample(x, event_dim=1)
            contrast = pyro.sample("contrast", LogNormal(0.0, 0.3))
            with pyro.plate("components", 3, dim=-2):
                a = pyro.sample("a", Normal(0.0, 1.0))
            pyro.sample("x", Normal((contrast * a).mT, spread).to_event(1), obs=y)

    losses = []
    for kind in (pyro.infer.SVI, CompiledSVI):
        pyro.clear_param_store()
        pyro.set_rng_seed(0)
        guide = AutoAmortizedNormal(model, "items", torch.nn.Linear(3, 5))
        svi = kind(model, guide, pyro.optim.Adam({"lr": 0.01}), pyro.infer.Trace_ELBO())
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            losses.append([float(svi.step(x, 10)) for _ in range(6)])
    assert losses[0] == losses[1]


def test_which_entries_are_known_is_looked_up_in_every_compiled_step(own_world, interpreted):
    import pyro
    import torch
    from pyro.distributions import Normal

    from pyro_impl import AutoAmortizedNormal, CompiledSVI

    x, seen = torch.randn(40), torch.arange(40) % 3 == 0

    def model(x, seen, batch_size=None):
        with pyro.plate("items", len(x), batch_size, dim=-1) as index:
            z = pyro.sample("z", Normal(0.0, 1.0), obs=x[index], obs_mask=seen[index])
            level = pyro.sample("level", Normal(0.0, 1.0))
            pyro.sample("x", Normal(z + level, 0.5), obs=x[index] + 1)

    losses = []
    for kind in (pyro.infer.SVI, CompiledSVI):
        pyro.clear_param_store()
        pyro.set_rng_seed(0)
        guide = AutoAmortizedNormal(
            model, "items", lambda x: x, features=lambda x, *_: torch.stack([x, x * seen], 1)
        )
        svi = kind(model, guide, pyro.optim.Adam({"lr": 0.01}), pyro.infer.Trace_ELBO())
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            losses.append([float(svi.step(x, seen, 10)) for _ in range(6)])
    assert losses[0] == losses[1]


def test_many_fits_at_once_are_those_of_single_runs_with_an_encoder_that_is_trained(own_world):
    import jax
    import numpy as np
    import numpyro
    from flax import nnx
    from numpyro import distributions as dist

    from numpyro_impl import AutoAmortizedNormal, CompiledSVI

    x = jax.random.normal(jax.random.key(7), (20, 3))

    def model(x):
        with numpyro.plate("items", len(x), dim=-1):
            z = numpyro.sample("z", dist.Normal(0.0, 1.0))
            numpyro.sample("x", dist.Normal(z[..., None], 1.0).to_event(1), obs=x)

    def made():
        guide = AutoAmortizedNormal(model, "items", nnx.Linear(3, 5, rngs=nnx.Rngs(0)))
        return CompiledSVI(model, guide, numpyro.optim.Adam(0.01), numpyro.infer.Trace_ELBO())

    keys = jax.random.split(jax.random.key(0), 2)
    many = made().run_many(keys, 6, x)
    one = made().run(keys[1], 6, x)
    np.testing.assert_allclose(many.losses[1], one.losses, rtol=1e-5)
    (name,) = (n for n in many.params if n.startswith("auto_encoder"))
    both = zip(jax.tree.leaves(many.params[name]), jax.tree.leaves(one.params[name]), strict=True)
    for together, alone in both:
        np.testing.assert_allclose(together[1], alone, rtol=1e-4, atol=1e-6)
        assert np.abs(together[0] - together[1]).max() > 0
