"""Records on disk: everything comes back, whichever framework made it, and bad files are named."""

from __future__ import annotations

import dataclasses
import json
import pickletools
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from twinplate import InputError, Record, compare
from twinplate.records.record import Failure, Given, Parameter, Plate, Run, Settings, Site


def made(draw: float = 0.5, **changes) -> Record:
    """A record with one of everything, made by hand."""
    rng = np.random.default_rng(0)
    site = Site(
        "latent",
        (Plate("n", -1, 10, 3),),
        (3,),
        (2,),
        "real",
        "Normal",
        "float64",
        10 / 3,
        rng.normal(size=(1, 3, 2)),
        np.array([[-np.inf, np.nan, 0.1]]),
        np.array([True, False, True]),
        {"loc": np.asarray(0.25), "total_count": np.arange(3)},
    )
    bare = dataclasses.replace(site, value=None, log_prob=None, mask=None, arguments={}, scale=1.0)
    run = Run(
        {"z": site},
        {"z": bare, "array": site, "weighted": dataclasses.replace(site, scale=np.ones((1, 3)))},
        {"w": Parameter("positive", np.float32([1.5, 2.5]), None)},
        np.array([1.25]),
    )
    stopped = Run(failure=Failure("model", None, "ValueError: no", '  File "x.py", line 1'))
    record = Record(
        "pyro",
        {"torch": "2.0"},
        Settings("TraceGraph_ELBO", 1, False, (3,), False),
        {"args/0": np.zeros((0, 4), np.int32), "kwargs/b": np.asarray(True)},
        {("3", "float64"): run, ("3", "float32"): stopped},
        {"3": Given({"z": np.array([draw])}, {"n": np.array([1, 4, 7])}, {"w": np.ones(2)})},
        {"array": "b"},
        ("erf", "gather(mode=clip)"),
    )
    return dataclasses.replace(record, **changes)


def alike(a: object, b: object) -> bool:
    """Equal in every field, array dtypes, orders of dictionaries and types included."""
    if type(a) is not type(b):
        return False
    if dataclasses.is_dataclass(a):
        names = [f.name for f in dataclasses.fields(a)]
        return all(alike(getattr(a, n), getattr(b, n)) for n in names)
    if isinstance(a, dict):
        return list(a) == list(b) and all(alike(a[key], b[key]) for key in a)
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    return a == b


def test_everything_comes_back(tmp_path: Path) -> None:
    made().save(tmp_path / "new" / "a.record")
    assert alike(Record.load(tmp_path / "new" / "a.record"), made())


def test_repeated_arrays_are_stored_once_and_equal_numbers_of_other_types_apart(tmp_path) -> None:
    inputs = {str(i): np.zeros(1000) for i in range(50)} | {"single": np.zeros(1000, np.float32)}
    made(inputs=inputs).save(tmp_path / "a")
    assert (tmp_path / "a").stat().st_size < 20_000
    assert sum(v.shape == (1000,) for v in load_file(tmp_path / "a").values()) == 2
    assert alike(Record.load(tmp_path / "a").inputs, inputs)


def test_an_array_that_is_not_contiguous_keeps_its_numbers(tmp_path) -> None:
    inputs = {"x": np.arange(12.0).reshape(3, 4).T[::2]}
    made(inputs=inputs).save(tmp_path / "a")
    assert alike(Record.load(tmp_path / "a").inputs, inputs)


def test_the_file_is_as_documented(tmp_path) -> None:
    """An eight-byte length, a JSON header, numbers: read here without safetensors."""
    made().save(tmp_path / "a")
    content = (tmp_path / "a").read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    described = json.loads(header["__metadata__"]["twinplate"])
    assert described["format"] == "twinplate record"
    assert described["version"] == 1
    name = described["runs"]["3"]["float64"]["loss"]
    start, end = header[name]["data_offsets"]
    assert np.frombuffer(content[8 + length :][start:end]) == 1.25
    page = (Path(__file__).parents[2] / "docs" / "records.md").read_text()
    run = described["runs"]["3"]["float64"]
    keys = {*described, *run, *run["model"]["z"], *run["parameters"]["w"], *described["given"]["3"]}
    assert {key for key in keys if f"`{key}`" not in page} == set()
    with pytest.raises(ValueError, match=r"opcode|pickle exhausted|stringnl"):
        list(pickletools.genops(content))


def test_a_record_is_never_overwritten_and_leaves_nothing_behind(tmp_path) -> None:
    (tmp_path / "a").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        made().save(tmp_path / "a")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    with pytest.raises(TypeError):
        made(versions={"x": object()}).save(tmp_path / "b")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def changed_header(path: Path, change) -> None:
    made().save(path)
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        header = json.loads(file.metadata()["twinplate"])
    save_file(load_file(path), path, metadata={"twinplate": json.dumps(change(header))})


def test_a_record_made_before_there_was_an_order(tmp_path) -> None:
    def without_alpha(header):
        del header["settings"]["alpha"]
        return header

    changed_header(tmp_path / "a", without_alpha)
    assert Record.load(tmp_path / "a").settings == made().settings


BAD = {
    "missing": (lambda p: None, "does not exist"),
    "directory": (lambda p: p.mkdir(), "is a directory"),
    "empty": (lambda p: p.write_bytes(b""), "no record, or it was truncated"),
    "text": (lambda p: p.write_text("x,y\n1,2\n" * 9), "no record, or it was truncated"),
    "other tensors": (lambda p: save_file({"w": np.ones(2)}, p), "is no record"),
    "other metadata": (
        lambda p: save_file({"w": np.ones(2)}, p, metadata={"twinplate": "7"}),
        "is no record",
    ),
    "version": (lambda p: changed_header(p, lambda h: h | {"version": 2}), "format version 2"),
    "no version": (
        lambda p: changed_header(p, lambda h: {k: h[k] for k in h if k != "version"}),
        "format version None",
    ),
    "other format": (lambda p: changed_header(p, lambda h: h | {"format": "run"}), "is no record"),
    "no runs": (
        lambda p: changed_header(p, lambda h: {k: h[k] for k in h if k != "runs"}),
        "is damaged",
    ),
    "too much": (lambda p: changed_header(p, lambda h: h | {"colour": 1}), "is damaged"),
    "lost tensor": (
        lambda p: changed_header(p, lambda h: h | {"inputs": {"x": "999"}}),
        "is damaged",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_record_is_named(name, tmp_path) -> None:
    make, expected = BAD[name]
    path = tmp_path / "file.record"
    make(path)
    with pytest.raises(InputError, match=expected) as error:
        Record.load(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_record_is_refused(share, tmp_path) -> None:
    made().save(tmp_path / "a")
    content = (tmp_path / "a").read_bytes()
    (tmp_path / "b").write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match="truncated"):
        Record.load(tmp_path / "b")


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (made(draw=0.6), "other draws"),
        (made(settings=Settings(seeds=(4,), stress=False)), "other settings"),
        (made(inputs={"args/0": np.ones(1), "kwargs/b": np.asarray(True)}), "args/0"),
    ],
)
def test_records_that_do_not_belong_together_are_refused(other, expected) -> None:
    with pytest.raises(InputError, match=expected):
        compare(made(), other)
