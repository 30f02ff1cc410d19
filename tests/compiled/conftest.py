"""What several files of this folder share."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture
def compiler(monkeypatch):
    """`compiler(code)`: the process that compiles runs this code instead."""
    from pyro_impl.compiled import compilation

    def put(code):
        made = compilation._Job.__init__

        def init(job, folder, key):
            job.code = code
            made(job, folder, key)

        monkeypatch.setattr(compilation._Job, "__init__", init)
        monkeypatch.setattr(
            compilation._Job,
            "_command",
            property(lambda job: [sys.executable, "-c", job.code], lambda job, value: None),
            raising=False,
        )

    return put
