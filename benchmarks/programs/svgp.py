"""A sparse variational Gaussian process of `pyro.contrib.gp`, trained by its own model and guide."""

import torch
from pyro.contrib import gp
from pyro.infer import TraceMeanField_ELBO

from programs.program import Program


def make():
    x = torch.linspace(0, 5, 60)
    y = torch.sin(2 * x) + 0.2 * torch.randn(60)
    process = gp.models.VariationalSparseGP(
        *(x, y, gp.kernels.RBF(1), x[::8].clone(), gp.likelihoods.Gaussian()),
        jitter=1e-3,
        whiten=True,
    )
    return Program(process.model, process.guide, lambda step: (), TraceMeanField_ELBO())
