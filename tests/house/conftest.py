"""What several files of this folder share."""

from __future__ import annotations

import pytest
from warm_interpreter import warm_interpreter


@pytest.fixture(scope="session")
def interpreter():
    """`interpreter.run(script, folder)` in a fork of a process that has imported the frameworks."""
    with warm_interpreter() as interpreter:
        yield interpreter
