"""Simulated spectra of overlapping lines, for `correlated_vae_pyro.py` and `correlated_vae_numpyro.py`."""

import numpy as np

from twinplate.programs.linear_gaussian import LinearGaussian

N, D, K, NOISE = 1000, 12, 3, 0.3
_channel = np.linspace(0.0, 1.0, D)[:, None]
LINES = np.exp(-((_channel - [0.35, 0.5, 0.65]) ** 2) / (2 * 0.15**2))  # (D, K), neighbours overlap
_rng = np.random.default_rng(0)
spectra = _rng.normal(size=(N, K)) @ LINES.T + NOISE * _rng.normal(size=(N, D))
first_lines = _rng.uniform(0.2, 0.8, size=(D, K))  # where the decoder starts


def log_evidence(lines):
    """Of the spectra under a decoder (D, K), exactly: nats per item."""
    known = LinearGaussian(np.asarray(lines, float), np.zeros(D), np.full(D, NOISE))
    return known.log_evidence(spectra).mean()


def tell(guide, elbo, lines):
    """Print the ELBO, the log evidence of the decoder trained with it, and what the ELBO misses of that."""
    evidence = log_evidence(lines)
    print(f"{guide:10s} ELBO {elbo:.2f} evidence {evidence:.2f} gap {evidence - elbo:.2f}")
