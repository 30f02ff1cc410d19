"""The run directory: written whole or not at all, and nothing damaged is ever read."""

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from safetensors import safe_open
from safetensors.numpy import save_file

from twinplate.errors import InputError
from twinplate.files import require_new
from twinplate.training import run_format
from twinplate.training.run_directory import load_run, save_run, versions
from twinplate.training.run_format import SavedRun

FILES = [
    "fixed.safetensors",
    "losses.npy",
    "optimizer.safetensors",
    "params.safetensors",
    "run.json",
]


GROUPS = ("last parameters", "optimiser's mean", "optimiser's variance")


def make_run(**changes) -> SavedRun:
    rng = np.random.default_rng(0)
    params = {
        "encoder.layer_1.weight": rng.normal(size=(4, 3)).astype(np.float32),
        "noise_scale": rng.normal(size=3),
        "scalar": np.array(0.5),
    }
    run = SavedRun(
        config={"guide": "auxiliary", "rank": None, "learning_rate": 1e-3, "nested": {"k": [1]}},
        data={"fingerprint": "ab", "num_items": 5, "num_features": 3, "columns": ["a", "ü", "c"]},
        versions={"python": "3"},
        params=params,
        last={name: np.asarray(value + 1) for name, value in params.items()},
        mean={name: np.asarray(value * 2) for name, value in params.items()},
        variance={name: np.asarray(value**2) for name, value in params.items()},
        fixed={"loadings": np.asfortranarray(rng.normal(size=(3, 2)))},
        losses=np.array([3.0, 2.5, np.nan]),
        step=3,
        limits={"rate": 0.005},
    )
    return dataclasses.replace(run, **changes)


def assert_equal(left: SavedRun, right: SavedRun) -> None:
    for field in dataclasses.fields(SavedRun):
        a, b = getattr(left, field.name), getattr(right, field.name)
        if field.name in ("params", "last", "mean", "variance", "fixed"):
            assert a.keys() == b.keys()
            for name in a:
                assert_same_array(a[name], b[name])
        elif field.name == "losses":
            assert_same_array(a, b)
        else:
            assert a == b


def assert_same_array(a: np.ndarray, b: np.ndarray) -> None:
    assert a.dtype == b.dtype and a.shape == b.shape
    assert a.tobytes() == b.tobytes()


def refusal(function, *args) -> str:
    with pytest.raises(InputError) as caught:
        function(*args)
    return str(caught.value)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "run"
    save_run(path, make_run())
    return path


# ------------------------------------------------------------------------------------ round trip


def test_round_trip(saved):
    run = load_run(saved)
    assert_equal(run, make_run())
    run.params["scalar"][...] = 1  # training goes on in place: the arrays must be writable
    assert sorted(p.name for p in saved.iterdir()) == FILES
    assert [p.name for p in saved.parent.iterdir()] == ["run"]


@settings(deadline=None, max_examples=30)
@given(
    params=st.dictionaries(
        st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__"),
        hnp.arrays(st.sampled_from([np.float32, np.float64]), hnp.array_shapes(min_dims=0)),
        max_size=3,
    ),
    losses=hnp.arrays(np.float32, st.integers(0, 5)),
    step=st.integers(0, 2**60),
)
def test_round_trip_of_any_names_and_shapes(tmp_path_factory, params, losses, step):
    groups = dict.fromkeys(("params", "last", "mean", "variance"), params)
    run = make_run(**groups, losses=losses, step=step)
    path = tmp_path_factory.mktemp("any") / "run"
    save_run(path, run)
    assert_equal(load_run(path), run)


def test_a_run_without_parameters(tmp_path):
    run = make_run(params={}, last={}, mean={}, variance={}, fixed={}, losses=np.empty(0), step=0)
    save_run(tmp_path / "run", run)
    assert_equal(load_run(tmp_path / "run"), run)


def test_layout_is_what_the_format_promises(saved):
    """Read with other code than ours: plain JSON, safetensors and NPY."""
    header = json.loads((saved / "run.json").read_text())
    assert header["format"] == 3 and header["step"] == 3
    assert header["config"] == make_run().config and header["data"] == make_run().data
    assert sorted(header["files"]) == FILES[:-1]
    for name, checksum in header["files"].items():
        assert hashlib.sha256((saved / name).read_bytes()).hexdigest() == checksum
    with safe_open(saved / "optimizer.safetensors", "numpy") as file:
        names = {f"{m}.{name}" for m in ("last", "mean", "variance") for name in make_run().params}
        assert set(file.keys()) == names
        np.testing.assert_array_equal(file.get_tensor("last.scalar"), 1.5)
        np.testing.assert_array_equal(file.get_tensor("mean.scalar"), 1.0)
        np.testing.assert_array_equal(file.get_tensor("variance.scalar"), 0.25)
    with safe_open(saved / "fixed.safetensors", "numpy") as file:
        np.testing.assert_array_equal(file.get_tensor("loadings"), make_run().fixed["loadings"])
    np.testing.assert_array_equal(np.load(saved / "losses.npy"), [3.0, 2.5, np.nan])


def test_same_run_same_bytes(saved, tmp_path):
    save_run(tmp_path / "again", make_run())
    for name in FILES:
        assert (saved / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


# ---------------------------------------------------------------------------------------- saving


def test_an_existing_path_is_refused_and_left_alone(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "folder", "link"):
        assert "exists" in refusal(require_new, tmp_path / name)
        assert "exists" in refusal(save_run, tmp_path / name, make_run())
    assert (tmp_path / "file").read_text() == "mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder", "link"]


@pytest.mark.parametrize("failing", [0, 1, 2, 3, 4, "rename"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_in_the_middle_of_saving_leaves_nothing(tmp_path, monkeypatch, failing, error):
    calls = 0

    def fail(*_, **__):
        raise error

    def patched(path, content):
        nonlocal calls
        path.write_bytes(content[: len(content) // 2])  # half of the file reaches the disk first
        calls += 1
        if calls > failing:
            fail()

    if failing == "rename":
        monkeypatch.setattr(os, "replace", fail)
    else:
        monkeypatch.setattr(run_format, "write_durably", patched)
    with pytest.raises(InputError if isinstance(error, OSError) else KeyboardInterrupt) as caught:
        save_run(tmp_path / "parent" / "run", make_run())
    if isinstance(error, OSError):
        assert "No space left" in str(caught.value) and "parent/run" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_plain_data_is_refused_before_anything_is_written(tmp_path):
    for changes in (
        {"config": {"x": float("nan")}},
        {"config": {"x": object()}},
        {"losses": np.array([None])},
        {"mean": {}},
    ):
        with pytest.raises((TypeError, ValueError)):
            save_run(tmp_path / "new" / "run", make_run(**changes))
    assert list(tmp_path.iterdir()) == []


def test_permissions_follow_the_umask(tmp_path):
    save_run(tmp_path / "run", make_run())
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "run").stat().st_mode == (tmp_path / "plain").stat().st_mode


# --------------------------------------------------------------------------------------- loading


def test_what_is_no_run_directory(tmp_path):
    assert "does not exist" in refusal(load_run, tmp_path / "no")
    (tmp_path / "file").write_text("")
    assert "is a file" in refusal(load_run, tmp_path / "file")
    assert "no run.json" in refusal(load_run, tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_refused_at_every_length(saved, name):
    content = (saved / name).read_bytes()
    size = len(content.rstrip())  # without its last newline, run.json is still whole
    for length in {*range(0, size, max(1, size // 25)), 1, 7, 8, 9, size - 1}:
        (saved / name).write_bytes(content[:length])
        message = refusal(load_run, saved)
        assert name in message and "damaged" in message, length
    (saved / name).write_bytes(content)
    load_run(saved)


@pytest.mark.parametrize("name", FILES[:-1])
def test_altered_extended_missing_and_unreadable_files(saved, name):
    content = (saved / name).read_bytes()
    for altered in (content[:-1] + bytes([content[-1] ^ 1]), content + b"\0"):
        (saved / name).write_bytes(altered)
        assert f"{name} is damaged: it was truncated or altered" in refusal(load_run, saved)
    (saved / name).unlink()
    assert f"incomplete: {name} is missing" in refusal(load_run, saved)
    (saved / name).mkdir()
    assert "cannot be read" in refusal(load_run, saved)


def reseal(path: Path, name: str, content: bytes) -> None:
    """Replace a file and its checksum, as if the run had been written so."""
    (path / name).write_bytes(content)
    header = json.loads((path / "run.json").read_text())
    header["files"][name] = hashlib.sha256(content).hexdigest()
    rewrite(path, header)


def rewrite(path: Path, header: dict) -> None:
    """`run.json` with the checksum of its own that belongs to it."""
    header.pop("checksum", None)
    text = json.dumps(header, indent=2) + "\n"
    checksum = hashlib.sha256(text.encode()).hexdigest()
    text = json.dumps({**header, "checksum": checksum})
    (path / "run.json").write_text(text)


@pytest.mark.parametrize("name", FILES[:-1])
@pytest.mark.parametrize("content", [b"", b"\0" * 8, b"not a tensor", b"\xff" * 100])
def test_contents_are_checked_beyond_the_checksum(saved, name, content):
    reseal(saved, name, content)
    assert f"{name} is damaged" in refusal(load_run, saved)


def test_losses_must_be_plain_and_one_per_step(saved, tmp_path):
    for losses in (np.ones((2, 2)), np.array([None, 1])):
        np.save(tmp_path / "losses.npy", losses)
        reseal(saved, "losses.npy", (tmp_path / "losses.npy").read_bytes())
        assert "losses.npy is damaged" in refusal(load_run, saved)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.pop("mean.scalar"),
        lambda m: m.pop("variance.noise_scale"),
        lambda m: m.update({"mean.extra": np.ones(1)}),
        lambda m: m.update({"variance.noise_scale": np.ones(4)}),
        lambda m: m.pop("last.scalar"),
    ],
)
def test_last_parameters_and_moments_must_match_the_parameters(saved, tmp_path, change):
    run = make_run()
    moments = {f"last.{k}": v for k, v in run.last.items()}
    moments |= {f"mean.{k}": v for k, v in run.mean.items()}
    moments |= {f"variance.{k}": v for k, v in run.variance.items()}
    change(moments)
    save_file(moments, tmp_path / "moments")
    reseal(saved, "optimizer.safetensors", (tmp_path / "moments").read_bytes())
    message = refusal(load_run, saved)
    assert any(f"the {what} of" in message for what in GROUPS)


@pytest.mark.parametrize(
    ("change", "fragment"),
    [
        ({"format": 2}, "format version 2"),
        ({"format": "1"}, "format version '1'"),
        ({"format": None}, "format version None"),
        ({"config": []}, "'config'"),
        ({"data": None}, "'data'"),
        ({"versions": "3"}, "'versions'"),
        ({"step": "3"}, "'step'"),
        ({"files": {}}, "'files'"),
        ({"other": 1}, "keys that no run has"),
        ({"files": {"../../etc/passwd": ""}}, "'files'"),
    ],
)
def test_run_json_of_another_kind(saved, change, fragment):
    rewrite(saved, json.loads((saved / "run.json").read_text()) | change)
    assert fragment in refusal(load_run, saved)


@pytest.mark.parametrize("content", [b"", b"[]", b"3", b"{}", b"\xff\xfe", b'{"format": 3}'])
def test_run_json_that_is_none(saved, content):
    (saved / "run.json").write_bytes(content)
    message = refusal(load_run, saved)
    assert "run.json is damaged" in message


def test_a_run_of_before_has_no_checksum_of_its_own(saved):
    """It had no notes either, so one without a single one of the two is none."""
    header = json.loads((saved / "run.json").read_text())
    del header["checksum"]
    (saved / "run.json").write_text(json.dumps(header))
    assert "run.json is damaged" in refusal(load_run, saved)
    del header["notes"]
    (saved / "run.json").write_text(json.dumps(header))
    assert_equal(load_run(saved), make_run())


# -------------------------------------------------------------------------------------- versions


def test_versions_lists_what_is_installed(monkeypatch):
    real = metadata.version

    def version(name):
        if name in ("jax", "pyro-ppl"):
            raise metadata.PackageNotFoundError(name)
        return {"torch": "9.9+cpu", "flax": "0.1"}.get(name) or real(name)

    monkeypatch.setattr(metadata, "version", version)
    found = versions()
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["numpy"] == np.__version__ and "scipy" in found
    assert found["torch"] == "9.9+cpu" and found["flax"] == "0.1"
    assert "jax" not in found and "pyro-ppl" not in found


def test_versions_imports_no_framework():
    code = (
        "import sys, twinplate.training.run_directory\n"
        "twinplate.training.run_directory.versions()\n"
        "sys.exit(bool({'torch', 'pyro', 'jax', 'numpyro', 'flax', 'optax'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
