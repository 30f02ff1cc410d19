"""Matrices read in blocks: every row once, in memory maps too, and the same facts whatever the blocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from twinplate.data.blocks import blocks, fitting, gather, on_disk, release, spans
from twinplate.data.readers import load_generative, load_matrix
from twinplate.data.statistics import read_statistics
from twinplate.data.table import fingerprint
from twinplate.errors import InputError
from twinplate.programs.config import ProgramConfig
from twinplate.programs.linear_gaussian import LinearGaussian
from twinplate.programs.program import make_program
from twinplate.programs.start import likely_start

NAN = np.nan


@pytest.fixture
def mapped(tmp_path: Path):
    """Write an array to an NPY file and map it."""

    def mapped(x, mode="r"):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.npy"
        np.save(path, x)
        return np.load(path, mmap_mode=mode)

    return mapped


@pytest.fixture(params=[1, 3, 7, 1000])
def rows_per_block(request, monkeypatch):
    """Blocks of so many rows of 5 columns."""
    monkeypatch.setattr("twinplate.data.blocks.fitting.__defaults__", (8 * 5 * request.param,))
    return request.param


def make_data(num_items=40, missing=0.3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(num_items, 5)) @ rng.normal(size=(5, 5)) + [0, 1e6, -3, 0, 100]
    x[rng.uniform(size=x.shape) < missing] = NAN
    x[:, 3] = np.where(np.isnan(x[:, 3]), NAN, 2.5)
    return x


# -------------------------------------------------------------------------------- blocks and rows


def test_spans_cover_every_row_once():
    for length in (1, 3, 10, 11):
        found = [i for rows in spans(10, length) for i in range(rows.start, rows.stop)]
        assert found == list(range(10))
        assert all(rows.stop - rows.start <= length for rows in spans(10, length))
    assert (fitting(8, 100, 80), fitting(8, 5, 80), fitting(800, 5, 80)) == (10, 5, 1)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", ">f4", "int16", "bool"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_blocks_are_the_rows_as_float64(mapped, rows_per_block, dtype, order):
    x = np.asarray(np.random.default_rng(0).normal(size=(20, 5)) * 3, dtype=dtype, order=order)
    told = []
    for source in (x, mapped(x)):
        parts = list(blocks(source, lambda *done: told.append(done)))
        assert [start for start, _ in parts] == list(range(0, 20, rows_per_block))
        joined = np.concatenate([block for _, block in parts])
        assert joined.dtype == np.float64
        np.testing.assert_array_equal(joined, x.astype(np.float64))
    assert told[-1] == (20, 20) and len(told) == 2 * -(-20 // rows_per_block)


def test_blocks_of_a_map_stay_what_they_were_after_it_is_released(mapped):
    x = np.arange(50.0).reshape(10, 5)
    source = mapped(x)
    parts = [block for _, block in blocks(source, length=4)]
    assert not any(on_disk(block) for block in parts)
    release(source)
    np.testing.assert_array_equal(np.concatenate(parts), x)
    np.testing.assert_array_equal(source, x)


@pytest.mark.parametrize("dtype", ["float64", "float32", ">f8", "int32"])
def test_gather_is_indexing(mapped, monkeypatch, dtype):
    monkeypatch.setattr("twinplate.data.blocks.SCATTERED", 7)
    rng = np.random.default_rng(0)
    x = (10 * rng.normal(size=(100, 5))).astype(dtype)
    indices = rng.integers(100, size=36)
    for source in (x, mapped(x), mapped(x.T.copy()).T):
        found = gather(source, indices)
        assert found.dtype == (np.float32 if dtype == "float32" else np.float64)
        np.testing.assert_array_equal(found, x[indices])


def test_what_counts_as_on_disk(mapped):
    x = np.arange(12.0).reshape(4, 3)
    source = mapped(x)
    assert all(on_disk(s) for s in (source, source[1:], source.T, np.asarray(source)))
    assert not any(on_disk(s) for s in (x, x[1:], np.array(source), source + 1))


def test_changes_in_a_private_map_are_not_thrown_away(mapped):
    """Copy-on-write: letting its pages go would bring the file's values back."""
    source = mapped(np.zeros((4, 5)), "c")
    source[2] = 7
    assert not on_disk(source)
    np.testing.assert_array_equal(np.concatenate([b for _, b in blocks(source)])[2], 7)
    gather(source, np.arange(4))
    assert source[2, 0] == 7


# ------------------------------------------------------------------- facts independent of the blocks


def test_statistics_are_numpys_answer(mapped, rows_per_block):
    x = make_data()
    for source in (x, mapped(x)):
        found = read_statistics(source)
        assert found.num_items == 40
        assert found.missing.count == np.isnan(x).sum()
        assert found.missing.first == tuple(np.argwhere(np.isnan(x))[0])
        np.testing.assert_array_equal(found.observed, (~np.isnan(x)).sum(0))
        np.testing.assert_array_equal(found.low, np.nanmin(x, 0))
        np.testing.assert_array_equal(found.high, np.nanmax(x, 0))
        np.testing.assert_allclose(found.mean, np.nanmean(x, 0), rtol=1e-14)
        # the second column has mean 1e6 and deviation about 2: no sum of squares would keep 1e-9
        np.testing.assert_allclose(found.variance, np.nanvar(x, 0), rtol=1e-9, atol=1e-20)
        np.testing.assert_array_equal(found.constant, [False, False, False, True, False])
        assert found.spread[3] == 1


def test_one_block_is_numpys_answer_to_the_bit():
    """Small data are what they have always been."""
    for x in (make_data(), make_data(missing=0)):
        found = read_statistics(x)
        np.testing.assert_array_equal(found.mean, np.nanmean(x, 0))
        np.testing.assert_array_equal(np.sqrt(found.variance), np.nanstd(x, 0))


def test_statistics_find_the_first_of_each_kind(rows_per_block):
    x = make_data(missing=0)
    x[[11, 13]] = NAN
    x[17, 2], x[30, 1], x[:, 4] = np.inf, -np.inf, NAN
    found = read_statistics(x)
    assert (found.infinite.count, found.infinite.first) == (2, (17, 2))
    assert (found.empty_items.count, found.empty_items.first) == (2, (11,))
    assert found.missing.first == (0, 4)
    assert found.observed.tolist() == [38, 38, 38, 38, 0]
    assert np.isnan(found.mean[4]) and np.isfinite(found.mean[0])


def test_a_column_that_begins_late_has_the_moments_of_its_entries(rows_per_block):
    x = make_data(missing=0)
    x[:29, 0] = x[35:, 2] = NAN
    found = read_statistics(x)
    np.testing.assert_allclose(found.mean, np.nanmean(x, 0), rtol=1e-14)
    np.testing.assert_allclose(found.variance, np.nanvar(x, 0), rtol=1e-9, atol=1e-20)


def test_fingerprints_do_not_depend_on_blocks_or_storage(mapped, rows_per_block):
    import hashlib

    x = make_data().astype(np.float32)
    values = np.where(np.isnan(x), NAN, x).astype("<f8").tobytes()
    expected = hashlib.sha256(b"float64 (40, 5) " + values).hexdigest()
    assert fingerprint(x) == fingerprint(mapped(x)) == expected
    assert fingerprint(x.astype(np.float64)) == expected


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_a_start_does_not_depend_on_the_blocks(mapped, rows_per_block, missing):
    x = make_data(40, missing=missing)
    expected = LinearGaussian(**likely_start(x, 2, read_statistics(x)).as_dict())
    found = likely_start(mapped(x), 2, read_statistics(mapped(x)))
    for name, values in expected.as_dict().items():
        np.testing.assert_allclose(getattr(found, name), values, rtol=1e-9, err_msg=name)


@pytest.mark.filterwarnings("ignore:1 feature of x has the same value")
def test_a_program_of_a_map_is_that_of_the_array(mapped):
    x = make_data(300).astype(np.float32)
    config = ProgramConfig(5, 2)
    whole, streamed = make_program(x.astype(np.float64), config), make_program(mapped(x), config)
    for name, values in whole.fixed.items():
        np.testing.assert_array_equal(streamed.fixed[name], values, err_msg=name)


# ------------------------------------------------------------------------------------------ loading


@pytest.fixture
def low_limit(monkeypatch):
    """Files of more than 100 bytes are large."""
    monkeypatch.setattr("twinplate.data.readers.MAPPED_BYTES", 100)


def saved(tmp_path, x):
    np.save(tmp_path / "x.npy", x)
    return tmp_path / "x.npy"


@pytest.mark.parametrize("dtype", ["float64", "float32", "uint8"])
def test_a_large_file_stays_on_disk_as_it_is(tmp_path, low_limit, dtype):
    x = np.arange(60).reshape(12, 5).astype(dtype)
    table = load_matrix(saved(tmp_path, x))
    assert on_disk(table.x) and table.x.dtype == x.dtype
    np.testing.assert_array_equal(table.x, x)
    assert table.statistics.high.tolist() == x.max(0).tolist()


def test_small_files_and_files_by_columns_are_read(tmp_path, monkeypatch, low_limit):
    x = np.arange(60.0).reshape(12, 5)
    by_columns = load_matrix(saved(tmp_path, np.asfortranarray(x))).x
    monkeypatch.setattr("twinplate.data.readers.MAPPED_BYTES", 10_000)
    small = load_matrix(saved(tmp_path, x.astype(np.float32))).x
    for found in (by_columns, small):
        assert not on_disk(found) and found.dtype == np.float64 and found.flags.c_contiguous
        np.testing.assert_array_equal(found, x)


@pytest.mark.parametrize(
    ("x", "fragment"),
    [
        (np.full((20, 5), np.inf), "100 infinite entries, the first in row 1, column 1"),
        (np.zeros((20, 5), complex), "complex128"),
        (np.zeros(100), "two dimensions"),
        (np.array([["a"] * 5] * 20), "<U1"),
        (np.array([[None] * 5] * 20), "Python objects"),
    ],
)
def test_large_files_are_refused_like_small_ones(tmp_path, low_limit, x, fragment):
    path = saved(tmp_path, x)
    with pytest.raises(InputError, match=r"x\.npy") as caught:
        load_matrix(path)
    assert fragment in str(caught.value)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError):
        load_matrix(path)


def test_a_truncated_large_file_is_named_as_such(tmp_path, low_limit):
    path = saved(tmp_path, np.ones((20, 5)))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="truncated"):
        load_matrix(path)


def test_large_loadings_become_ordinary_arrays(tmp_path, low_limit):
    w = load_generative(saved(tmp_path, np.ones((20, 5), np.float32)))["loadings"]
    assert type(w) is np.ndarray and w.dtype == np.float64 and not on_disk(w)


def test_reading_ahead_is_back_after_rows_that_are_not_there(mapped, monkeypatch):
    advised = []
    monkeypatch.setattr("twinplate.data.blocks.advise", lambda x, advice: advised.append(advice))
    with pytest.raises(IndexError):
        gather(mapped(np.zeros((4, 2))), np.array([1, 9]))
    assert advised == ["MADV_RANDOM", "MADV_NORMAL"]
