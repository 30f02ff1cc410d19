"""Random numbers of tests that do not seed them: what ran before in the same process does not decide them."""

from __future__ import annotations

import random
import sys

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def same_random_numbers() -> None:
    """Python's, NumPy's and torch's generators of the process start anew at each test; JAX has none."""
    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
