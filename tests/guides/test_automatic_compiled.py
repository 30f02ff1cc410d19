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
