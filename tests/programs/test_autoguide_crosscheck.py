"""The pattern the auxiliary guide follows: each framework's own AutoMultivariateNormal.

On a model with one item the joint auxiliary sample of our guide and the autoguide's are the same
variable. With the same parameters and the same draw the densities and the ELBO must be the same.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from twins import both_twins

D = 4


def numbers(k, seed=0):
    """One item, a fixed generative model, and loc (K,) and scale_tril (K, K) of a guide for it."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(1, D))
    x[0, 1] = np.nan
    model = {
        "loadings": rng.normal(size=(D, k)),
        "intercept": rng.normal(size=D),
        "noise_scale": rng.uniform(0.5, 1.5, D),
        "loc": rng.normal(size=(k, 1)),
        "scale": rng.uniform(0.5, 1.5, (k, 1)),
    }
    tril = np.tril(rng.normal(size=(k, k)), -1) + np.diag(rng.uniform(0.3, 2.0, k))
    return x, model, rng.normal(size=k), tril, rng.normal(size=k)


def exact_elbo(x, model, loc, tril, noise):
    """log p(x, a) - log q(a) at a = loc + tril @ noise by SciPy, and log q(a)."""
    a = loc + tril @ noise
    seen = ~np.isnan(x[0])
    mean = model["loadings"] @ a + model["intercept"]
    log_p = scipy.stats.norm.logpdf(x[0], mean, model["noise_scale"])[seen].sum()
    log_p += scipy.stats.norm.logpdf(a, model["loc"][:, 0], model["scale"][:, 0]).sum()
    log_q = scipy.stats.multivariate_normal.logpdf(a, loc, tril @ tril.T)
    return log_p - log_q, log_q


def stub_encoder(twin, loc, tril):
    """An encoder, as a module of the framework, that says the same whatever the item."""
    given = {"loc": twin.array(loc[None]), "scale_tril": twin.array(tril[None])}
    if twin.name == "pyro":

        class Stub(twin.torch.nn.Module):
            def forward(self, x):
                return twin.impl.Encoded(**given)

        return Stub()
    from flax import nnx

    class Stub(nnx.Module):
        def __call__(self, x):
            return twin.impl.Encoded(**given)

    return Stub()


def pyro_elbos(twin, model, guide, loc, tril, noise):
    """(ELBO, log q) of our guide with this base noise, and of the autoguide at the same draw."""
    pyro, torch = twin.framework, twin.torch
    auto = pyro.infer.autoguide.AutoMultivariateNormal(model)
    auto()
    scale = np.diag(tril)
    auto.loc.data = twin.array(loc)
    auto.scale = twin.array(scale)
    auto.scale_tril = twin.array(tril / scale[:, None])
    name = f"_{auto._pyro_name}_latent"
    source = pyro.poutine.trace(auto).get_trace()
    source.nodes[name]["value"] = twin.array(loc + tril @ noise)
    source.remove_node("a")  # the Delta follows from the joint draw
    replayed = pyro.poutine.replay(auto, trace=source)

    elbo = pyro.infer.Trace_ELBO()
    twice = twin.array([[noise], [noise]])  # the guide runs twice, and takes a row each time
    with torch.no_grad(), twin.impl.base_noise({"a_aux": twice}):
        ours = -elbo.loss(model, guide), twin.trace(guide)["a_aux"][1].sum()
    with torch.no_grad():
        return ours, (-elbo.loss(model, replayed), twin.trace(replayed)[name][1].sum())


def numpyro_elbos(twin, model, guide, loc, tril, noise):
    """(ELBO, log q) of our guide with this base noise, and of the autoguide at the same draw."""
    from numpyro import handlers
    from numpyro.infer import Trace_ELBO
    from numpyro.infer.autoguide import AutoMultivariateNormal
    from numpyro.infer.util import compute_log_probs

    key = twin.jax.random.key(0)
    auto = AutoMultivariateNormal(model)
    handlers.seed(auto, key)()
    params = {"auto_loc": twin.array(loc), "auto_scale_tril": twin.array(tril)}
    draw = twin.array(loc + tril @ noise)
    replayed = handlers.substitute(auto, data={**params, "_auto_latent": draw})

    def run(params, guide, site):
        elbo = -Trace_ELBO().loss(key, params, model, guide)
        return elbo, compute_log_probs(handlers.seed(guide, key), (), {}, params)[0][site]

    with twin.impl.base_noise({"a_aux": twin.array(noise[None])}):
        ours = twin.jax.jit(lambda: run({}, guide, "a_aux"))()
    return ours, twin.jax.jit(lambda: run(params, replayed, "_auto_latent"))()


@both_twins("k", [1, 3], quick=[3])
def test_our_guide_and_the_autoguide_agree_on_one_item(twin, k):
    x, numbers_of_model, loc, tril, noise = numbers(k)
    data = twin.array(x)
    fixed = {name: twin.array(v) for name, v in numbers_of_model.items()}
    encoder = stub_encoder(twin, loc, tril)
    model = lambda: twin.impl.component_model(data, **fixed)
    guide = lambda: twin.impl.auxiliary_guide(data, encoder=encoder)
    elbos = {"pyro": pyro_elbos, "numpyro": numpyro_elbos}[twin.name]
    ours, theirs = elbos(twin, model, guide, loc, tril, noise)
    for our, their, exact in zip(
        ours, theirs, exact_elbo(x, numbers_of_model, loc, tril, noise), strict=True
    ):
        assert math.isfinite(our)
        assert float(our) == pytest.approx(float(their), rel=1e-12, abs=1e-12)
        assert float(our) == pytest.approx(exact, rel=1e-12, abs=1e-12)
