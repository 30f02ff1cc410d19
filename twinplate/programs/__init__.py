"""Configuration, parameters and closed forms of the reference programs."""
