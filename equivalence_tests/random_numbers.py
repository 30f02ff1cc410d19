"""Random numbers of tests that do not seed them: neither what ran before nor chance decides them."""

from __future__ import annotations

import random
from contextlib import suppress

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def same_random_numbers() -> None:
    """Python's, NumPy's and torch's generators of the process start anew at each test; JAX has none.

    torch is imported for it where it is installed: it seeds itself by chance when it is imported.
    """
    random.seed(0)
    np.random.seed(0)
    with suppress(ImportError):
        import torch

        torch.manual_seed(0)
