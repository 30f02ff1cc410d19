"""`run.json`: what a run says of itself, and what is demanded of it before anything else is read."""

from __future__ import annotations

import hashlib
import json
import math
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from twinplate.errors import InputError

FORMAT = 3  # 1 held no average of the parameters, 2 had other units
HEADER_FILE = "run.json"
TENSOR_FILES = ("params.safetensors", "optimizer.safetensors", "fixed.safetensors")
LOSSES_FILE = "losses.npy"
MOST = (
    2**23
)  # bytes of run.json; as lists of lists they would take some twenty times as much memory


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _are_limits(value: Any) -> bool:
    return isinstance(value, dict) and all(
        name in ("rate", "loss") and isinstance(limit, float) and math.isfinite(limit)
        for name, limit in value.items()
    )


def _is_config(value: Any) -> bool:
    return isinstance(value, dict) and _is_text(value.get("backend", ""))


def _is_data(value: Any) -> bool:
    return isinstance(value, dict) and all(DATA[key](value[key]) for key in DATA.keys() & value)


DATA: dict[str, Callable[[Any], bool]] = {
    "fingerprint": _is_text,
    "num_items": _is_whole,
    "num_features": _is_whole,
    "columns": _are_texts,
    "id_columns": _are_texts,
    "left_out": _are_texts,
    "layer": _is_text,
    "selected": _are_texts,
    "offset": _is_text,
    "offset_fingerprint": _is_text,
}
KEYS: dict[str, Callable[[Any], bool]] = {
    "config": _is_config,
    "data": _is_data,
    "versions": _is_dict,
    "step": _is_whole,
    "files": _is_dict,
}
SINCE = {"limits": _are_limits, "notes": _are_texts}  # keys that a run of before has not
SEALED = {"notes", "checksum"}  # both, or in a run of before none


def sealed(header: Mapping[str, Any]) -> bytes:
    """The text of run.json, with a checksum of its own. Raises InputError for more than is ever read."""
    text = _text({**header, "checksum": checksum(_text(header))})
    if len(text) > MOST:
        raise InputError(
            f"what run.json is to hold takes {len(text):,} bytes, and {MOST:,} are the most; expected fewer "
            "or shorter names of columns"
        )
    return text


def _text(header: Mapping[str, Any]) -> bytes:
    return (json.dumps(header, indent=2, allow_nan=False) + "\n").encode()


def read_header(path: Path) -> dict[str, Any]:
    """`run.json` in the directory `path`: format, keys and their types, files and checksum checked."""
    place = path / HEADER_FILE
    text = read_content(place, MOST)
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise damaged(place, "it is not valid JSON") from error
    if not isinstance(header, dict) or "format" not in header:
        raise damaged(place, "it names no format version")
    if (given := header["format"]) != FORMAT:
        shown = "of another kind" if isinstance(given, dict | list) else repr(given)[:40]
        raise InputError(
            f"{path} has format version {shown}, and this twinplate reads version {FORMAT} only: use the "
            "twinplate that wrote it."
        )
    for key, is_one in (KEYS | SINCE).items():
        if not is_one(header.get(key)) and (key in KEYS or key in header):
            raise damaged(place, f"{key!r} is missing or of the wrong type")
    if set(header["files"]) != {*TENSOR_FILES, LOSSES_FILE}:
        raise damaged(place, "'files' does not list the files of a run")
    if header.keys() - KEYS.keys() - SINCE.keys() - {"format", "checksum"}:
        raise damaged(place, "it has keys that no run has")
    if (SEALED & header.keys()) and not _is_sealed(header):
        raise damaged(place, "it was altered since the run was written")
    return header


def _is_sealed(header: dict[str, Any]) -> bool:
    """Whether it has its own checksum, which is taken out."""
    if not header.keys() >= SEALED:
        return False
    try:
        return bool(header.pop("checksum") == checksum(_text(header)))
    except (ValueError, RecursionError):  # no header that is ever written
        return False


def read_content(path: Path, most: int) -> bytes:
    """All of a file. Raises InputError for more than `most` bytes and for a link, which may lead anywhere."""
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            raise InputError(f"{path} cannot be read: it is a link, a directory or a device.")
        if found.st_size > most:
            raise damaged(path, f"it has {found.st_size:,} bytes, and {most:,} are the most")
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path.parent} is incomplete: {path.name} is missing.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error


def checksum(found: bytes) -> str:
    """SHA-256, in hex."""
    return hashlib.sha256(found).hexdigest()


def damaged(path: Path, why: str) -> InputError:
    """The error for a file that is not what was written."""
    return InputError(f"{path} is damaged: {why}. Restore it from a copy, or run the fit again.")
