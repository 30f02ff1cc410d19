"""benchmarks/single_cell.py, of which scvi-tools' own part runs outside of the tests."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import single_cell
import torch

from twinplate import InputError


def test_the_log_evidence_is_that_of_quadrature():
    rng = np.random.default_rng(0)
    loadings, intercept = rng.normal(size=(4, 1)), rng.normal(size=4)
    dispersion = rng.uniform(1.0, 3.0, 4)
    x = np.array([[3, 0, 5, 1], [40, 2, 0, 9]])
    decoder = single_cell.Decoder(*map(torch.tensor, (loadings, intercept, dispersion)))
    found, correlation = single_cell.evidence(decoder, torch.tensor(x, dtype=torch.float64), 20_000)
    z = np.linspace(-8, 8, 4001)
    share = np.exp(z[:, None] * loadings[:, 0] + intercept)
    share /= share.sum(1, keepdims=True)
    for cell, estimate in zip(x, found, strict=True):
        mean = cell.sum() * share
        density = stats.nbinom.pmf(cell, dispersion, dispersion / (dispersion + mean)).prod(1)
        exact = np.log(np.trapezoid(density * stats.norm.pdf(z), z))
        assert float(estimate) == pytest.approx(exact, abs=0.01)
    np.testing.assert_allclose(correlation, np.ones((2, 1, 1)))


def test_the_elbo_of_a_guide_is_below_the_evidence_by_its_divergence():
    """For a decoder without loadings the posterior is the prior: the gap is that of two normals."""
    zero = torch.zeros(3, 2, dtype=torch.float64)
    decoder = single_cell.Decoder(zero, zero[:, 0], torch.ones(3, dtype=torch.float64))
    x = torch.tensor([[1.0, 2.0, 0.0]], dtype=torch.float64)
    loc, tril = torch.tensor([[0.5, 0.0]]).double(), torch.eye(2).double()[None]
    exact = stats.nbinom.logpmf(x.numpy(), 1.0, 0.5).sum()  # a mean of one for each gene
    bound = single_cell.elbo(decoder, x, loc, tril, 20_000)
    error = 0.5 / 20_000**0.5  # log p(z) - log q(z) is 0.125 - z/2
    assert float(exact - bound) == pytest.approx(0.125, abs=4 * error)


def test_without_scvi_tools_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "anndata", None)
    with pytest.raises(InputError, match="pip install scvi-tools"):
        single_cell.linear_scvi(torch.ones(2, 3), torch.ones(1, 3), 1, 0, True)
