"""Twenty programs of the kinds that users of Pyro write: for benchmarks, and for tests of the steps."""

from programs.program import NAMES, Program, load

__all__ = ["NAMES", "Program", "load"]
