"""Guides for models of your own: one multivariate normal per item over all of its latent sites."""

from numpyro_impl.programs.guides import components_first

__all__ = ["components_first"]  # from where it was once documented
