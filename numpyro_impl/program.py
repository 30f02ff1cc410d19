"""`Program`, where it was before the code had wings; `from numpyro_impl import Program` is shorter."""

from numpyro_impl.recording.program import Program

__all__ = ["Program"]
