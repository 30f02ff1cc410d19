"""Programs and optimisers for the compiled steps: each makes (model, guide, batches of arguments) afresh."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import autoguide
from pyro.nn import PyroModule, PyroParam, PyroSample
from torch import nn
from torch.distributions import constraints

ITEMS, FEATURES = 12, 3


def data():
    x = torch.linspace(-1, 1, ITEMS * FEATURES).reshape(ITEMS, FEATURES).sin()
    return x, x @ torch.tensor([1.0, -2.0, 0.5]) + 0.1 * torch.cos(torch.arange(float(ITEMS)))


def batches(*sizes):
    """Rows of the data, one mini-batch for each size, in turn."""
    x, y = data()
    return [(x[:size], y[:size]) for size in sizes]


def regression(x, y):
    weights = pyro.sample("weights", dist.Normal(0.0, 1.0).expand([FEATURES]).to_event(1))
    noise = pyro.sample("noise", dist.Gamma(2.0, 2.0))
    with pyro.plate("items", len(x)):
        pyro.sample("y", dist.Normal((x * weights).sum(-1), noise), obs=y)


def with_autoguide(guide):
    return lambda: (regression, guide(regression), batches(ITEMS))


def low_rank():
    return regression, autoguide.AutoLowRankMultivariateNormal(regression, rank=2), batches(ITEMS)


def subsampling():
    """The plate draws its indices itself, and slices a parameter of its own size."""

    def model(x, y):
        slope = pyro.sample("slope", dist.Normal(0.0, 2.0))
        with pyro.plate("items", ITEMS, subsample_size=5) as items:
            local = pyro.sample("local", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Normal(slope * x[items, 0] + local, 0.5), obs=y[items])

    def guide(x, y):
        loc = pyro.param("slope_loc", lambda: torch.tensor(0.3))
        pyro.sample("slope", dist.Normal(loc, 0.2))
        locs = lambda: torch.zeros(ITEMS)
        with pyro.plate("items", ITEMS, subsample_size=5):
            local = pyro.param("local_loc", locs, event_dim=0)
            pyro.sample("local", dist.Normal(local, 0.3))

    return model, guide, batches(ITEMS)


def score_function():
    """A discrete site in the guide, inside and outside of a plate, next to a continuous one."""

    def model(x, y):
        switch = pyro.sample("switch", dist.Bernoulli(0.4))
        slope = pyro.sample("slope", dist.Normal(switch, 1.0))
        with pyro.plate("items", len(x)):
            group = pyro.sample("group", dist.Categorical(torch.tensor([0.2, 0.3, 0.5])))
            pyro.sample("y", dist.Normal(slope * x[:, 0] + group, 1.0), obs=y)

    def guide(x, y):
        p = pyro.param("p", torch.tensor(0.5), constraint=constraints.unit_interval)
        pyro.sample("switch", dist.Bernoulli(p))
        loc = pyro.param("loc", torch.tensor(0.1))
        pyro.sample("slope", dist.Normal(loc, 0.5))
        logits = pyro.param("logits", torch.zeros(3))
        with pyro.plate("items", len(x)):
            pyro.sample("group", dist.Categorical(logits=logits + 0.1 * x))

    return model, guide, batches(ITEMS)


def gamma_beta():
    """Reparametrised by implicit gradients: Gamma, Beta, Dirichlet."""

    def model(x, y):
        rate = pyro.sample("rate", dist.Gamma(2.0, 1.0))
        share = pyro.sample("share", dist.Beta(2.0, 3.0))
        weights = pyro.sample("weights", dist.Dirichlet(torch.ones(FEATURES)))
        with pyro.plate("items", len(x)):
            pyro.sample("y", dist.Normal(share * (x @ weights), rate), obs=y)

    def guide(x, y):
        positive = constraints.positive
        a = pyro.param("a", torch.tensor([2.0, 1.5, 1.2, 2.5]), constraint=positive)
        pyro.sample("rate", dist.Gamma(a[0], a[1]))
        pyro.sample("share", dist.Beta(a[2], a[3]))
        b = pyro.param("b", torch.full((FEATURES,), 1.5), constraint=positive)
        pyro.sample("weights", dist.Dirichlet(b))

    return model, guide, batches(ITEMS)


def constrained():
    """One parameter under each constraint that has a map of its own."""

    def model(x, y):
        mix = pyro.param("mix", torch.tensor([0.2, 0.3, 0.5]), constraint=constraints.simplex)
        top = pyro.param("top", torch.tensor(0.4), constraint=constraints.interval(-1.0, 2.0))
        weights = pyro.sample("weights", dist.Normal(top, 1.0).expand([FEATURES]).to_event(1))
        with pyro.plate("items", len(x)):
            pyro.sample("y", dist.Normal((x * weights * mix).sum(-1), 0.7), obs=y)

    def guide(x, y):
        loc = pyro.param("loc", torch.zeros(FEATURES), constraint=constraints.less_than(3.0))
        tril = pyro.param("tril", torch.eye(FEATURES), constraint=constraints.lower_cholesky)
        scale = pyro.param(
            "scale", torch.ones(FEATURES), constraint=dist.constraints.softplus_positive
        )
        tril = scale.unsqueeze(-1) * tril
        pyro.sample("weights", dist.MultivariateNormal(loc, scale_tril=tril))

    return model, guide, batches(ITEMS)


def masked_scaled():
    """A mask and a scale by handler, a mask in the distribution, a factor, and obs_mask."""
    keep = torch.arange(ITEMS) % 3 > 0

    def model(x, y):
        slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
        pyro.factor("prior", -0.1 * slope.abs())
        with pyro.plate("items", len(x)), poutine.scale(scale=2.5):
            with poutine.mask(mask=keep[: len(x)]):
                pyro.sample("y", dist.Normal(slope * x[:, 0], 1.0), obs=y)
            pyro.sample("z", dist.Normal(slope, 1.0).mask(~keep[: len(x)]), obs=y)

    def guide(x, y):
        loc = pyro.param("loc", torch.tensor(0.1))
        scale = pyro.param("scale", torch.tensor(0.4), constraint=constraints.positive)
        with poutine.scale(scale=0.5):
            pyro.sample("slope", dist.Normal(loc, scale))

    return model, guide, batches(ITEMS)


def encoder_decoder(*layers):
    """`pyro.module` in model and guide: a small variational autoencoder."""

    def make():
        encoder = nn.Sequential(*[layer() for layer in layers], nn.Linear(FEATURES, 8), nn.Tanh())
        head = nn.Linear(8, 4)
        decoder = nn.Sequential(nn.Linear(2, 8), nn.SiLU(), nn.Linear(8, FEATURES))

        def model(x, y):
            pyro.module("decoder", decoder)
            with pyro.plate("items", len(x)):
                z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), 2), 1.0).to_event(1))
                pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1), obs=x)

        def guide(x, y):
            pyro.module("encoder", encoder)
            pyro.module("head", head)
            loc, log_scale = head(encoder(x)).split(2, -1)
            with pyro.plate("items", len(x)):
                pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

        return model, guide, batches(ITEMS)

    return make


def pyro_module():
    """A Bayesian linear layer: PyroSample in the model, PyroParam in the guide."""

    class Model(PyroModule):
        def __init__(self):
            super().__init__()
            self.linear = PyroModule[nn.Linear](FEATURES, 1)
            self.linear.weight = PyroSample(dist.Normal(0.0, 1.0).expand([1, FEATURES]).to_event(2))
            self.noise = PyroParam(torch.tensor(0.6), constraint=constraints.positive)

        def forward(self, x, y):
            mean = self.linear(x).squeeze(-1)
            with pyro.plate("items", len(x)):
                pyro.sample("y", dist.Normal(mean, self.noise), obs=y)

    class Guide(PyroModule):
        def __init__(self):
            super().__init__()
            self.loc = nn.Parameter(torch.zeros(1, FEATURES))
            self.scale = PyroParam(torch.full((1, FEATURES), 0.3), constraint=constraints.positive)

        def forward(self, x, y):
            pyro.sample("linear.weight", dist.Normal(self.loc, self.scale).to_event(2))

    return Model(), Guide(), batches(ITEMS)


def partial_batches():
    """Three full batches, then one of 5 items and one of a single item, over and over."""
    model, guide, _ = pyro_module()
    return model, guide, batches(8, 8, 8, 5, 1)


CASES = {
    "subsampling": subsampling,
    "score function": score_function,
    "Gamma, Beta, Dirichlet": gamma_beta,
    "constrained": constrained,
    "mask and scale": masked_scaled,
    "pyro.module": encoder_decoder(),
    "dropout": encoder_decoder(nn.Dropout),
    "batch norm": encoder_decoder(lambda: nn.BatchNorm1d(FEATURES)),
    "PyroModule": pyro_module,
    "partial batches": partial_batches,
    "AutoNormal": with_autoguide(autoguide.AutoNormal),
    "AutoDiagonalNormal": with_autoguide(autoguide.AutoDiagonalNormal),
    "AutoMultivariateNormal": with_autoguide(autoguide.AutoMultivariateNormal),
    "AutoLowRankMultivariateNormal": low_rank,
    "AutoDelta": with_autoguide(autoguide.AutoDelta),
}
