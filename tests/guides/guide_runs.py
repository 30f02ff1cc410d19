"""Automatic guides of either twin behind one small interface: parameters by name, as NumPy arrays."""

from __future__ import annotations

import numpy as np


def first_params(twin, guide, *args, **kwargs):
    """The guide's own parameters after one run, by name: constrained values."""
    if twin.name == "pyro":
        guide(*args, **kwargs)
        store = twin.framework.get_param_store()
        return {name: twin.numpy(value) for name, value in store.items()}
    seeded = twin.framework.handlers.seed(guide, 0)
    trace = twin.framework.handlers.trace(seeded).get_trace(*args, **kwargs)
    return {
        name: twin.jax.tree.map(twin.numpy, site["value"])
        for name, site in trace.items()
        if site["type"] == "param"
    }


def set_params(twin, params):
    """Put them into Pyro's store; NumPyro is given them anew at each call."""
    if twin.name == "pyro":
        for name, value in params.items():
            twin.framework.get_param_store()[name] = twin.array(value)


def posterior(twin, guide, params, *args, **kwargs):
    """`guide.get_posterior` with these parameters."""
    return ask(twin, guide, "get_posterior", params, *args, **kwargs)


def ask(twin, guide, method, params, *args, **kwargs):
    """A method of the guide with these parameters."""
    set_params(twin, params)
    given = () if twin.name == "pyro" else (native(twin, params),)
    return getattr(guide, method)(*given, *args, **kwargs)


def native(twin, params):
    """NumPyro's parameters."""
    return twin.jax.tree.map(twin.array, params)


def loss(twin, model, guide, params, *args, seed=0, **kwargs):
    """The loss of one draw."""
    return loss_of(twin, model, guide, *args, **kwargs)(params, seed)


def loss_of(twin, model, guide, *args, elbo="Trace_ELBO", **kwargs):
    """`found(params, seed)`: the loss of a draw. In JAX one program; function by function it is hundreds."""
    objective = elbo if not isinstance(elbo, str) else getattr(twin.framework.infer, elbo)()

    def in_pyro(params, seed):
        set_params(twin, params)
        twin.framework.set_rng_seed(seed)
        return objective.loss(model, guide, *args, **kwargs)

    if twin.name == "pyro":
        return in_pyro
    jit, key = twin.jax.jit, twin.jax.random.key
    given = jit(lambda key, params: objective.loss(key, params, model, guide, *args, **kwargs))
    return lambda params, seed: float(given(key(seed), native(twin, params)))


def train(twin, model, guide, steps, *args, elbo="Trace_ELBO", rate=1e-2, **kwargs):
    """Losses of stock SVI, and the parameters."""
    objective = elbo if not isinstance(elbo, str) else getattr(twin.framework.infer, elbo)()
    if twin.name == "pyro":
        twin.framework.set_rng_seed(0)
        optim = twin.framework.optim.Adam({"lr": rate})
        svi = twin.framework.infer.SVI(model, guide, optim, objective)
        losses = [svi.step(*args, **kwargs) for _ in range(steps)]
        store = twin.framework.get_param_store()
        return np.array(losses), {name: twin.numpy(value) for name, value in store.items()}
    optim = twin.framework.optim.Adam(rate)
    svi = twin.framework.infer.SVI(model, guide, optim, objective)
    key = twin.jax.random.key(0)
    run = svi.run(key, steps, *args, progress_bar=False, **kwargs)
    return np.asarray(run.losses), twin.jax.tree.map(twin.numpy, run.params)
