"""Programs that Pyro's own classes write: `contrib.forecast` and `contrib.gp`, beside NumPyro written out."""

import numpy as np
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.contrib.gp as gp
import pyro.distributions as pdist
import torch
from jax import numpy as jnp
from pyro.contrib.forecast import ForecastingModel
from pyro.nn import PyroSample

from numpyro_impl.recording.program import Program as NumpyroProgram
from pyro_impl.recording.program import Program as PyroProgram
from twinplate import Case

rng = np.random.default_rng(16)
months = np.linspace(-1.0, 1.0, 6)
sales = np.cumsum(rng.normal(size=(6, 1)), axis=0)
covariates = np.stack([months, months**2], axis=1)


class Forecast(ForecastingModel):
    """A random walk and a regression; the class observes what is left as "residual"."""

    def model(self, zero_data, covariates):
        wander = pyro.sample("wander", pdist.LogNormal(-1.0, 0.5))
        slopes = pyro.sample("slopes", pdist.Normal(torch.zeros(2), 1.0).to_event(1))
        with self.time_plate:
            step = pyro.sample("step", pdist.Normal(0.0, wander))
        noise = pyro.sample("noise", pdist.LogNormal(-1.0, 0.5))
        regression = (slopes.unsqueeze(-2) * covariates).sum(-1)
        prediction = (step.cumsum(-1) + regression).unsqueeze(-1)
        self.predict(pdist.Normal(0.0, noise.unsqueeze(-1)), prediction)


def numpyro_forecast(sales, covariates):
    wander = numpyro.sample("wander", ndist.LogNormal(-1.0, 0.5))
    slopes = numpyro.sample("slopes", ndist.Normal(jnp.zeros(2), 1.0).to_event(1))
    with numpyro.plate("time", len(covariates)):
        step = numpyro.sample("step", ndist.Normal(0.0, wander))
    noise = numpyro.sample("noise", ndist.LogNormal(-1.0, 0.5))
    prediction = (jnp.cumsum(step) + covariates @ slopes)[:, None]
    residual = ndist.Normal(jnp.zeros(sales.shape), noise).to_event(2)
    numpyro.sample("residual", residual, obs=sales - prediction)


places = np.sort(rng.uniform(0.0, 3.0, size=6))
heights = np.sin(places)


def make_regression():
    kernel = gp.kernels.Matern32(1, variance=torch.tensor(1.2), lengthscale=torch.tensor(0.7))
    kernel.lengthscale = PyroSample(pdist.LogNormal(0.0, 0.5))
    regression = gp.models.GPRegression(
        torch.tensor(places), torch.tensor(heights), kernel, noise=torch.tensor(0.3)
    )
    return regression.model, regression.guide


def numpyro_regression():
    length = numpyro.sample("kernel.lengthscale", ndist.LogNormal(0.0, 0.5))
    variance = numpyro.param("kernel.variance", 1.2, constraint=ndist.constraints.positive)
    noise = numpyro.param("noise", 0.3, constraint=ndist.constraints.positive)
    distance = jnp.sqrt(3.0) * jnp.abs(places[:, None] - places) / length
    kernel = variance * (1.0 + distance) * jnp.exp(-distance)
    covariance = kernel + (noise + 1e-6) * jnp.eye(len(places))
    numpyro.sample("y", ndist.MultivariateNormal(0.0, covariance), obs=jnp.asarray(heights))


def numpyro_regression_guide():
    """What `gp` makes of a prior: its most probable value is learned."""
    constraint = ndist.constraints.positive
    numpyro.sample(
        "kernel.lengthscale",
        ndist.Delta(numpyro.param("kernel.lengthscale_map", 0.7, constraint=constraint)),
    )


CASE_FORECAST = Case(
    PyroProgram(Forecast()),
    NumpyroProgram(numpyro_forecast),
    args=(sales, covariates),
    seeds=(0,),
)
CASE_GP = Case(
    PyroProgram.build(make_regression),
    NumpyroProgram(numpyro_regression, numpyro_regression_guide),
    seeds=(0,),
)
