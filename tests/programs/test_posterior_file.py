"""Posteriors written part by part: the same file as in one go, the packed form, and nothing when it fails."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest

from twinplate import Gaussian, InputError, unpack_scale_tril
from twinplate.programs.posterior_file import check_output, save_posterior
from twinplate.programs.triangle import pack_scale_tril


def make_posterior(num_items=7, size=3):
    rng = np.random.default_rng(0)
    tril = np.tril(rng.normal(size=(num_items, size, size)))
    return Gaussian(rng.normal(size=(num_items, size)), tril)


def parts(whole, length):
    for start in range(0, len(whole.loc), length):
        rows = slice(start, start + length)
        yield Gaussian(whole.loc[rows], whole.scale_tril[rows])


@pytest.mark.parametrize("length", [1, 3, 7])
def test_an_npz_in_parts_is_that_of_savez(tmp_path, length):
    whole = make_posterior()
    path, other = tmp_path / "new" / "nested" / "p.npz", tmp_path / "savez.npz"
    save_posterior(path, parts(whole, length), 7, 3)
    np.savez(other, loc=whole.loc, scale_tril=whole.scale_tril)
    with zipfile.ZipFile(path) as ours, zipfile.ZipFile(other) as numpys:
        assert ours.testzip() is None
        assert sorted(ours.namelist()) == sorted(numpys.namelist())
        for name in numpys.namelist():
            assert ours.read(name) == numpys.read(name)
            assert ours.getinfo(name).compress_type == numpys.getinfo(name).compress_type
    with np.load(path, allow_pickle=False) as saved:
        np.testing.assert_array_equal(saved["scale_tril"], whole.scale_tril)
    assert [p.name for p in path.parent.iterdir()] == ["p.npz"]


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_directory_holds_two_arrays_that_can_be_mapped(tmp_path, size):
    whole = make_posterior(size=size)
    save_posterior(tmp_path / "p", parts(whole, 2), 7, size)
    assert {p.name for p in (tmp_path / "p").iterdir()} == {"loc.npy", "scale_tril_packed.npy"}
    loc, packed = (
        np.load(tmp_path / "p" / f"{name}.npy", mmap_mode="r")
        for name in ("loc", "scale_tril_packed")
    )
    assert packed.shape == (7, size * (size + 1) // 2)
    np.testing.assert_array_equal(loc, whole.loc)
    np.testing.assert_array_equal(unpack_scale_tril(packed), whole.scale_tril)
    np.testing.assert_array_equal(unpack_scale_tril(packed[4]), whole.scale_tril[4])


def test_triangles_are_packed_row_by_row():
    tril = np.array([[1.0, 0, 0], [2, 3, 0], [4, 5, 6]])
    assert pack_scale_tril(tril).tolist() == [1, 2, 3, 4, 5, 6]
    np.testing.assert_array_equal(unpack_scale_tril(np.arange(1.0, 7)), tril)
    assert unpack_scale_tril(np.ones((2, 0, 3))).shape == (2, 0, 2, 2)


@pytest.mark.parametrize("shape", [(), (0,), (2,), (4, 5)])
def test_what_is_no_triangle(shape):
    with pytest.raises(InputError, match=r"K \(K \+ 1\) / 2"):
        unpack_scale_tril(np.ones(shape))


@pytest.mark.parametrize("name", ["p.npz", "p"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_posterior_half_written_leaves_nothing(tmp_path, name, error):
    def failing():
        yield from parts(make_posterior(), 5)
        raise error

    expected = InputError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        save_posterior(tmp_path / "new" / name, failing(), 14, 3)
    assert list(tmp_path.iterdir()) == []


def test_outputs_that_cannot_be(tmp_path):
    (tmp_path / "old.npz").touch()
    with pytest.raises(InputError, match="exists"):
        check_output(tmp_path / "old.npz")
    for name in ("p.csv", "p.npy"):
        with pytest.raises(InputError, match=r"expected \.npz") as caught:
            save_posterior(tmp_path / name, parts(make_posterior(), 2), 7, 3)
        assert "scale_tril_packed.npy" in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["old.npz"]
