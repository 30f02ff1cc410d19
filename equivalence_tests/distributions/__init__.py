"""Densities of every family of distributions in both frameworks, against 60 digits."""
