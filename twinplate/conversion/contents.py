"""What is in a file of parameters that a stranger may have written: sizes first, then numbers.

Nothing is unpickled or evaluated; NumPy's own reader evaluates the headers that it finds.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from twinplate.errors import InputError
from twinplate.host import host_memory
from twinplate.records.record import Array

SHARE = 4  # a file may have a fourth of the memory
LEAST = 2**20  # bytes that whatever is in a file may take, however small the file
GROWTH = 64  # by this factor at most its content may be larger than the file
HEADER = re.compile(
    rb"\x93NUMPY[\x01-\x03]\x00.{2,4}?\{'descr': '([<>|]?[fiub][1248])', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,15},? ?){0,32})\), *\} *\n",
    re.DOTALL,
)


def read_content(path: Path, most: int | None = None) -> bytes:
    """All of a file, of `most` bytes or a share of the memory. Raises InputError where there is none."""
    most = host_memory() // SHARE if most is None else most
    if not path.is_file():
        what = "is no file" if path.exists() else "does not exist"
        raise InputError(f"{path} {what}; expected a file of parameters")
    try:
        size = path.stat().st_size
        if size > most:
            raise InputError(f"{path} has {size:,} bytes; {most:,} are the most that is read here")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def checked_sizes(path: Path, sizes: Mapping[str, int], content: bytes) -> None:
    """Raise InputError where what a file holds, in bytes by name, is much more than the file itself."""
    most = LEAST + GROWTH * len(content)
    if sum(sizes.values()) > most or min(sizes.values(), default=0) < 0:
        largest = max(sizes, key=lambda name: sizes[name])
        raise InputError(
            f"{path} has {len(content):,} bytes, but says that it holds {sum(sizes.values()):,}, most of "
            f"them in {largest!r}; expected {most:,} at most. Save it again without compression"
        )


def arrays_of_npz(path: Path, content: bytes) -> dict[str, Array]:
    """The arrays of an NPZ file by name. Raises InputError for what is none, or holds Python objects."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            infos = file.infolist()
            checked_sizes(path, {info.filename: info.file_size for info in infos}, content)
            found = {
                info.filename.removesuffix(".npy"): file.open(info).read(info.file_size)
                for info in infos
            }
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError,
            NotImplementedError) as error:  # fmt: skip
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path} is no NPZ file, or it is damaged ({error}); save it again"
        ) from error
    return {name: _array(path, name, data) for name, data in found.items()}


def _array(path: Path, name: str, data: bytes) -> Array:
    header = HEADER.match(data)
    if header is None:
        raise InputError(
            f"{path} holds {name!r}, which is no array of real numbers; expected one array for each "
            "parameter. For a nested dictionary, save each array: np.savez(path, **{'net/weight': ...})"
        )
    dtype, shape = np.dtype(header[1].decode()), tuple(map(int, re.findall(rb"\d+", header[3])))
    count = 1
    for size in shape:
        count *= size  # in Python's numbers, which do not overflow
    if len(data) - header.end() != count * dtype.itemsize:
        raise InputError(f"{path} is damaged: {name!r} has not as many numbers as it says")
    values = np.frombuffer(data, dtype, offset=header.end())
    return values.reshape(shape, order="F" if header[2] == b"True" else "C").copy()
