"""A stranger's record is read or refused, and one that is read can be compared."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from mutated_files import bytes_changed, swap
from test_record_file import made

from twinplate import InputError, Record, compare


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("good") / "a.record"
    made().save(path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("mutated") / "b.record"


def parts(content: bytes) -> tuple[dict, dict, bytes]:
    """The header of the safetensors file, the record's own data in it, and the numbers."""
    size = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:size])
    return header, json.loads(header["__metadata__"]["twinplate"]), content[size:]


def whole(header: dict, described: str, numbers: bytes) -> bytes:
    header["__metadata__"]["twinplate"] = described
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + numbers


def mutated(content: bytes, chance) -> bytes:
    if chance.random() < 0.3:
        return bytes_changed(content, chance)
    header, described, numbers = parts(content)
    swap(described, chance)
    try:
        return whole(header, json.dumps(described), numbers)
    except (RecursionError, ValueError):  # more than JSON takes
        return whole(header, "[" * 100_000, numbers)


@given(chance=st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_mutated_record_is_read_and_compared_or_refused(good, place, chance):
    place.write_bytes(mutated(good, chance))
    with contextlib.suppress(InputError), np.errstate(all="ignore"):
        str(compare(made(), Record.load(place)))


def refusal(place: Path, content: bytes) -> str:
    place.write_bytes(content)
    with pytest.raises(InputError) as caught:
        Record.load(place)
    return str(caught.value)


def test_what_is_of_another_type_is_named(good, place):
    header, described, numbers = parts(good)
    assert "is no record" in refusal(place, whole(header, "[" * 100_000, numbers))
    described["operations"] = [1]
    told = refusal(place, whole(header, json.dumps(described), numbers))
    assert "it.operations[0] is of type int" in told
    described["operations"] = []
    described["settings"]["seeds"] = [77]
    told = refusal(place, whole(header, json.dumps(described), numbers))
    assert "draws without a run: ['77'" in told
    described["settings"]["seeds"] = [3]
    latent = described["runs"]["3"]["float64"]["guide"]["z"]
    latent["kind"] = ""
    told = refusal(place, whole(header, json.dumps(described), numbers))
    assert "the site 'z' is of kind ''; expected one of ('latent', " in told
    latent |= {"kind": "latent", "scale": None}
    told = refusal(place, whole(header, json.dumps(described), numbers))
    assert ".scale is of type NoneType" in told


@pytest.mark.parametrize(
    ("part", "array", "told"),
    [
        ({"scale": np.ones(2)}, "scale", "(2,); expected (1, 3)"),
        ({"mask": np.ones((2, 3), bool)}, "mask", "(2, 3); expected (1, 3)"),
        ({"log_prob": np.zeros((1, 2))}, "log_prob", "(1, 2); expected (1, 3)"),
        ({"value": np.zeros((1, 3, 3))}, "value", "(1, 3, 3); expected (1, 3, 2)"),
    ],
)
def test_arrays_have_the_shapes_of_their_site(place, part, array, told):
    record = made()
    run = record.runs["3", "float64"]
    run = replace(run, model={**run.model, "array": replace(run.model["array"], **part)})
    file = place.with_name(f"{array}.record")
    replace(record, runs={**record.runs, ("3", "float64"): run}).save(file)
    assert f"the {array} of site 'array' is of shape {told}" in refusal(place, file.read_bytes())


def test_losses_have_one_shape(good, place):
    record = made()
    other = replace(record.runs["3", "float64"], loss=np.ones(7))
    record = replace(record, runs={**record.runs, ("3", "float32"): other})
    record.save(place.with_name("c.record"))
    assert "shapes of losses" in refusal(place, place.with_name("c.record").read_bytes())
