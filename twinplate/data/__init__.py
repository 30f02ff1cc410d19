"""Matrices in memory or on disk: how they are read, and what one pass over them tells."""
