"""Files that are written whole or not at all: new ones, and those that replace an earlier one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from twinplate.errors import InputError
from twinplate.files import replacing, require_new, require_place, write_text, written_whole


def refusal(function, *args) -> str:
    with pytest.raises(InputError) as caught:
        function(*args)
    return str(caught.value)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_require_new_asks_for_a_place_that_can_be_written(tmp_path, monkeypatch):
    require_new(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    assert "is a file" in refusal(require_new, tmp_path / "file" / "a" / "b")
    monkeypatch.chdir(tmp_path)
    require_new(Path("run"))
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "no permission" in refusal(require_new, Path("run"))


def test_a_name_taken_meanwhile_is_not_overwritten(tmp_path):
    def write_late():
        with written_whole(tmp_path / "out") as temporary:
            temporary.write_text("ours")
            (tmp_path / "out").write_text("theirs")

    assert "exists" in refusal(write_late)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("out", "theirs")]


def test_require_place_asks_for_a_file_in_a_directory_that_exists(tmp_path):
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "new", Path("new")):
        require_place(path)
    for path in (tmp_path, tmp_path / "no" / "where", tmp_path / "file" / "below"):
        assert "expected a file in a directory that exists" in refusal(require_place, path)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("failing", ["write", "replace"])
def test_a_file_that_cannot_be_replaced_stays_as_it_was(tmp_path, monkeypatch, failing, error):
    path = tmp_path / "rows.json"
    write_text(path, "earlier")

    def fail(*_):
        raise error

    if failing == "replace":
        monkeypatch.setattr(os, "replace", fail)

    def replace():
        with replacing(path) as temporary:
            temporary.write_text("half")
            if failing == "write":
                fail()

    if isinstance(error, OSError):
        assert refusal(replace) == f"{path} cannot be written: No space left on device."
    else:
        with pytest.raises(KeyboardInterrupt):
            replace()
    assert path.read_text() == "earlier" and names(tmp_path) == ["rows.json"]


def test_text_replaces_what_was_there_under_any_name(tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there" / "file")
    for text in ("one ü", "two"):  # a link to nothing, then to a file
        write_text(tmp_path / "link", text)
        assert (tmp_path / "there" / "file").read_text(encoding="utf-8") == text
    monkeypatch.chdir(tmp_path)
    write_text(Path("new"), "three")
    assert (tmp_path / "new").read_text() == "three"
    assert names(tmp_path) == ["link", "new", "there"] and names(tmp_path / "there") == ["file"]
    assert (tmp_path / "link").is_symlink()


def test_what_is_no_file_is_written_in_place(tmp_path):
    """A pipe or a terminal, /dev/stdout for instance, has no place to be taken."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_text(pipe, "through")
    assert os.read(reading, 100) == b"through" and pipe.is_fifo()
    os.close(reading)
    assert "Is a directory" in refusal(write_text, tmp_path, "text")
    (tmp_path / "file").write_text("")
    assert "Not a directory" in refusal(write_text, tmp_path / "file" / "below", "text")
    assert names(tmp_path) == ["file", "pipe"]
