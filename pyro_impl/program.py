"""`Program`, where it was before the code had wings; `from pyro_impl import Program` is shorter."""

from pyro_impl.recording.program import Program

__all__ = ["Program"]
