"""What a run is told, how it is prepared, and what it leaves behind."""

from twinplate.training.plan import chunks

__all__ = ["chunks"]  # from where it was once documented
