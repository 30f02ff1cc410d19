"""The evidence with an amplitude against adaptive quadrature over dense marginals."""

from __future__ import annotations

import numpy as np
import pytest
from linear_gaussians import make_items, make_model
from scipy import integrate, stats

from twinplate import InputError, LinearGaussian
from twinplate.programs.amplitude import log_evidence_with_amplitude


def by_quadrature(model, scale, item):
    seen = ~np.isnan(item)
    w, noise = model.loadings[seen], model.noise_scale[seen]

    def density(z):
        grown = np.exp(scale * z) * w
        covariance = grown @ np.diag(model.scale**2) @ grown.T + np.diag(noise**2)
        mean = grown @ model.loc + model.intercept[seen]
        return stats.multivariate_normal.pdf(item[seen], mean, covariance) * stats.norm.pdf(z)

    return np.log(integrate.quad(density, -7, 7, epsabs=0, epsrel=1e-11, limit=500)[0])


@pytest.mark.parametrize("scale", [0.1, 0.4, 0.8])
def test_it_is_the_integral_over_the_amplitude(scale):
    model, x = make_model(4, 2, seed=0), make_items(6, 4, seed=0)
    x[0] = np.nan
    found = log_evidence_with_amplitude(model, scale, x)
    assert found[0] == pytest.approx(0, abs=1e-9)  # nothing is observed
    np.testing.assert_allclose(
        found[1:], [by_quadrature(model, scale, i) for i in x[1:]], atol=1e-8
    )


def test_an_amplitude_that_is_known_too_well_is_told():
    sharp = LinearGaussian(np.ones((3, 1)), 0.0, 1e-9, loc=1.0, scale=1e-9)
    with pytest.raises(InputError, match="known too precisely"):
        log_evidence_with_amplitude(sharp, 1.0, np.full((1, 3), 1.2345))
