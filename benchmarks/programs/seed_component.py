"""The question's component route: one normal per item over its components, handed on through a Delta."""

from programs.seed_event import of


def make():
    return of("component", "auxiliary")
