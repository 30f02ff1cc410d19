"""How often `twinplate fit` reads data that stay on disk: a pass is a walk through all items in blocks."""

from __future__ import annotations

import json

import numpy as np
import pytest
from rich.console import Console

from twinplate.commands.fit_command import FitRequest, prepare, run_fit
from twinplate.data import blocks, readers
from twinplate.data.blocks import on_disk
from twinplate.data.readers import load_matrix
from twinplate.data.statistics import read_statistics
from twinplate.data.table import fingerprint
from twinplate.errors import InputError
from twinplate.programs.config import ProgramConfig, TrainingConfig
from twinplate.programs.program import make_program

N, D, K = 40, 3, 2


@pytest.fixture
def passes(monkeypatch):
    """The passes over all N items so far: one entry each, the number of items."""
    begun = []
    spans = blocks.spans

    def counted(num_items, length):
        if num_items == N:  # fewer are a mini-batch
            begun.append(num_items)
        return spans(num_items, length)

    monkeypatch.setattr(blocks, "spans", counted)
    return begun


@pytest.fixture
def request_of_map(tmp_path, monkeypatch):
    """A request to fit a file that is mapped however small it is."""
    path = tmp_path / "x.npy"
    np.save(path, np.random.default_rng(0).normal(size=(N, D)).cumsum(1).astype(np.float32))
    monkeypatch.setattr(readers, "MAPPED_BYTES", 0)
    return FitRequest(path, tmp_path / "run", "pyro", "event", "full", 2, K, None, "error")


def test_a_fit_reads_the_file_five_times(request_of_map, passes, capsys):
    """Statistics and fingerprint, principal components, the trainer's check, posterior, exact answer."""
    run_fit(request_of_map, TrainingConfig(steps=2, batch_size=5, device="cpu"), Console())
    assert len(passes) == 5
    assert "exact log evidence" in capsys.readouterr().out


def test_what_is_passed_on_is_what_reading_again_would_find(request_of_map, passes):
    table, program, _ = prepare(request_of_map)
    assert on_disk(table.x) and len(passes) == 2
    assert table.fingerprint == fingerprint(np.load(request_of_map.data))
    expected = make_program(np.load(request_of_map.data), program.config).fixed
    assert json.dumps({n: v.tolist() for n, v in program.fixed.items()}) == json.dumps(
        {n: v.tolist() for n, v in expected.items()}
    )


def test_statistics_of_other_data_are_refused():
    x = np.eye(4)
    with pytest.raises(InputError, match="statistics are of 3 items; expected those of x, 4"):
        make_program(x, ProgramConfig(4, 2), statistics=read_statistics(x[:3]))


def test_a_posterior_needs_no_fingerprint(request_of_map):
    assert load_matrix(request_of_map.data).fingerprint == ""
