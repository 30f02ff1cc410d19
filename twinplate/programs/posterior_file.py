"""Posteriors of any number of items on disk, written as they are computed: never held as a whole.

FILE.npz   loc (N, K) and scale_tril (N, K, K), as `numpy.savez` writes them
DIRECTORY  loc.npy (N, K) and scale_tril_packed.npy (N, K (K + 1) / 2): the lower triangles row by
           row, half the size; `np.load(path, mmap_mode="r")` maps both, `unpack_scale_tril`
           makes triangles of them
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from zipfile import ZipFile

import numpy as np

from twinplate.data.writers import write_header
from twinplate.errors import InputError
from twinplate.files import require_new, written_whole
from twinplate.programs.linear_gaussian import Gaussian


def check_output(path: Path) -> None:
    """Raise InputError unless `path` is new and its suffix names one of the two forms."""
    require_new(path)
    if Path(path).suffix.lower() not in ("", ".npz"):
        raise InputError(
            f"{path} has suffix {Path(path).suffix!r}; expected .npz, for one file with loc and "
            "scale_tril, or none, for a directory with loc.npy and scale_tril_packed.npy"
        )


def save_posterior(
    path: Path,
    parts: Iterable[Gaussian],
    num_items: int,
    size: int,
    items: Sequence[str] = (),
) -> None:
    """Write the Gaussians of consecutive items, N = `num_items` in all, K = `size`, to `path`.

    items: their names, (N,), if they have any.

    The suffix .npz means a file, no suffix a directory (see above). Whole or not at all. Raises
    InputError for another suffix, and where `path` exists or cannot be written.
    """
    check_output(path)
    write = _write_npz if Path(path).suffix else _write_directory
    with written_whole(path) as temporary:
        write(temporary, parts, num_items, size)
        if items:
            _write_items(temporary, np.array(items))


def _write_npz(path: Path, parts: Iterable[Gaussian], num_items: int, size: int) -> None:
    # A zip file is written one member after the other. Each part has numbers for both members, so those
    # of loc, the smaller one, wait in a temporary file until scale_tril is complete.
    with TemporaryFile(dir=path.parent) as waiting, ZipFile(path, "x") as archive:
        with archive.open("scale_tril.npy", "w", force_zip64=True) as member:
            write_header(member, num_items, size, size)
            for part in parts:
                member.write(_bytes(part.scale_tril))
                waiting.write(_bytes(part.loc))
        waiting.seek(0)
        with archive.open("loc.npy", "w", force_zip64=True) as member:
            write_header(member, num_items, size)
            shutil.copyfileobj(waiting, member)


def _write_items(path: Path, items: np.ndarray) -> None:
    if path.is_dir():
        np.save(path / "items.npy", items)
        return
    with ZipFile(path, "a") as archive, archive.open("items.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array(member, items, allow_pickle=False)


def _write_directory(path: Path, parts: Iterable[Gaussian], num_items: int, size: int) -> None:
    path.mkdir()
    with (path / "loc.npy").open("xb") as locs, _packed_file(path).open("xb") as trils:
        write_header(locs, num_items, size)
        write_header(trils, num_items, size * (size + 1) // 2)
        for part in parts:
            locs.write(_bytes(part.loc))
            trils.write(_bytes(part.scale_tril_packed))


def _packed_file(path: Path) -> Path:
    return path / "scale_tril_packed.npy"


def _bytes(values: np.ndarray) -> bytes:
    return np.asarray(values, dtype="<f8").tobytes()
