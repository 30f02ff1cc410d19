"""Training on Parquet and Zarr of which no more is held than the mini-batches ahead: the same numbers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from process_groups import in_group

import pyro_impl
from twinplate import ProgramConfig, TrainingConfig, make_program
from twinplate.data import readers, stored
from twinplate.data.columns import ALL
from twinplate.data.readers import load_items, load_matrix
from twinplate.training import plan

N, D, B, PART = 250, 4, 16, 20
TRAINING = TrainingConfig(steps=9, batch_size=B, precision="float64", device="cpu")


@pytest.fixture(params=["parquet", "zarr"])
def path(request, tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "MAPPED_BYTES", 0)
    monkeypatch.setattr("twinplate.data.blocks.fitting.__defaults__", (8 * D * PART,))
    x = np.random.default_rng(0).normal(size=(N, D)).cumsum(axis=1)
    path = tmp_path / f"x.{request.param}"
    if request.param == "parquet":
        pq.write_table(pa.table(dict(zip("abcd", x.T, strict=True))), path, row_group_size=PART)
    else:
        zarr.create_array(path, data=x, chunks=(PART, 2))
    np.save(tmp_path / "x.npy", x)
    return path


def pieces_counted(kind):
    """The rows that are asked of every file of this kind from now on: pairs of the first and the end."""
    asked, pieces = [], kind.pieces

    def counted(self, start, stop):
        asked.append((int(start), int(stop)))
        return pieces(self, start, stop)

    kind.pieces = counted
    return asked


@pytest.mark.parametrize(
    ("twin", "path"),
    [
        *(("numpyro", "zarr"), ("pyro", "parquet"), ("pyro", "zarr")),
        pytest.param("numpyro", "parquet", marks=pytest.mark.slow),
    ],
    indirect=True,
)
def test_a_fit_is_that_of_the_array_to_the_bit(twin, path, monkeypatch):
    """Program, losses, parameters and the posterior afterwards; mini-batches are those of data in memory."""
    monkeypatch.setattr(plan, "CHUNK", 4)
    x, table = np.load(path.with_name("x.npy")), load_matrix(path)
    monkeypatch.setattr(stored.Stored, "__array__", None)  # all of it is never asked for
    program = make_program(table.x, ProgramConfig(D, 2), statistics=table.statistics)
    whole = make_program(x, ProgramConfig(D, 2))
    for name, values in whole.fixed.items():
        np.testing.assert_array_equal(program.fixed[name], values)
    found, expected = (twin.impl.fit(data, program, TRAINING) for data in (table.x, x))
    np.testing.assert_array_equal(found.losses, expected.losses)
    for name, values in expected.params.items():
        np.testing.assert_array_equal(found.params[name], values)
    parts = [twin.impl.posterior_blocks(data, program, found.params) for data in (table.x, x)]
    for one, other in zip(*parts, strict=True):
        np.testing.assert_array_equal(one.scale_tril, other.scale_tril)
    assert np.isfinite(found.losses).all() and np.ptp(found.losses) > 0


def rows_of_a_rank(group, path, program):
    """A fit in a group, and what of the file this process has asked for."""
    readers.MAPPED_BYTES = 0
    plan.CHUNK = 3
    x = load_items(path, ALL.choose)
    x.edges = np.append(np.arange(0, N, PART), N)
    asked = pieces_counted(type(x))
    return pyro_impl.fit(x, program, TRAINING, group=group), asked


@pytest.mark.parametrize(
    "path", ["zarr", pytest.param("parquet", marks=pytest.mark.slow)], indirect=True
)
def test_each_process_of_a_group_reads_its_rows_alone(path, monkeypatch):
    """To check them its half of all rows, and then of each part those between its items."""
    x = np.load(path.with_name("x.npy"))
    program = make_program(x, ProgramConfig(D, 2))
    monkeypatch.setattr(plan, "CHUNK", 3)
    whole = pyro_impl.fit(x, program, TRAINING)
    indices = [chunk.indices for chunk in plan.chunks(program.config, TRAINING, N, False)]
    ranks = in_group(2, rows_of_a_rank, path, program)
    for (fit, asked), half, share in zip(
        ranks, [(0, 125), (125, 250)], [slice(0, 8), slice(8, 16)], strict=True
    ):
        np.testing.assert_allclose(fit.losses, whole.losses, rtol=1e-12)
        assert asked[0] == half
        expected = [(0, 1)]  # whose row says what a mini-batch looks like
        for batches in indices:
            items = np.sort(batches[:, share].reshape(-1))
            parts = [items[items // PART == part] for part in range(-(-N // PART))]
            expected += [(part[0], part[-1] + 1) for part in parts if len(part)]
        assert sorted(asked[1:]) == sorted(expected)
