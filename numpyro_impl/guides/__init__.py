"""Guides for models of your own: one multivariate normal per item over all of its latent sites."""
