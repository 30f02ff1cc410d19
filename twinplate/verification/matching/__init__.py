"""Whose is whose: sites, parameters and draws of one program in terms of the other."""
