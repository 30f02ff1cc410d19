"""Guides for models of your own: one multivariate normal per item over all of its latent sites."""

from pyro_impl.programs.guides import components_first

__all__ = ["components_first"]  # from where it was once documented
