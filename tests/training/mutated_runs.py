"""A stranger's run directory: files with mistakes put in on purpose, their checksums made to fit.

    python tests/training/mutated_runs.py [--count 1000000] [--seed 0]

tries as many. Each is read, or refused by an InputError, in 5 seconds and 256 MiB at most; anything else ends
it with the number of the mutation. `test_mutated_runs.py` tries some in every run of the tests.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import resource
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np

from twinplate import Fit, InputError, ProgramConfig, TrainingConfig, load, make_program
from twinplate.commands.training_run import extended
from twinplate.data.columns import Fitted
from twinplate.programs.parameters import initial_params
from twinplate.training.run_directory import load_run
from twinplate.training.run_format import SavedRun, encoded
from twinplate.training.state import TrainingState

Files = dict[str, bytes]
SECONDS, MEMORY = 5.0, 2**28

# What takes the place of a part of a JSON text.
ODD: list[Callable[[], Any]] = [
    lambda: None,
    lambda: True,
    lambda: -1,
    lambda: 0,
    lambda: 1,
    lambda: 3,
    lambda: 2.5,
    lambda: "event",
    lambda: ["a", "b"],
    lambda: 2**63,
    lambda: 10**30,
    lambda: 1e308,
    lambda: float("nan"),
    lambda: float("-inf"),
    lambda: "",
    lambda: "../../../etc/passwd",
    lambda: "\ud800",
    lambda: [],
    lambda: {},
    lambda: [[]] * 1000,
    lambda: {"": {"": []}},
    lambda: _nested(80),
    lambda: _nested(5000),
]


def _nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def good_run() -> Files:
    """A small run as `twinplate fit` leaves it."""
    x = np.random.default_rng(0).normal(size=(12, 3))
    program = make_program(x, ProgramConfig(3, 2, hidden_width=2))
    training = TrainingConfig(steps=4)
    params = initial_params(program, 0)
    config = {
        "program": program.config.as_dict(),
        "training": training.as_dict(),
        "backend": "pyro",
    }
    data = {
        "fingerprint": "ab",
        "num_items": 12,
        "num_features": 3,
        "columns": ["a", "b", "c"],
        "named": True,
        "id_columns": [],
        "left_out": ["d"],
    }
    start = SavedRun(config, data, {}, params, params, params, params, program.fixed, np.ones(4), 4)
    state = TrainingState.start({n: v.astype(np.float32) for n, v in params.items()})
    return encoded("run", extended(start, Fit(state, np.zeros(0), notes=("a note",))))


def mutated(good: Files, chance: random.Random) -> Files:
    """One to three mistakes in one or more files, and mostly checksums that fit them."""
    files = dict(good)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        name = chance.choice([*sorted(files), "run.json", "run.json", "run.json"])
        change = chance.choice((_bytes_changed, _structure_changed, _structure_changed))
        files[name] = change(files[name], chance)
    return files if chance.random() < 0.1 else resealed(files)


def resealed(files: Files) -> Files:
    """With checksums that are those of the contents, as a stranger would give them."""
    try:
        header = json.loads(files["run.json"])
        for name in header["files"].keys() & files.keys():
            header["files"][name] = hashlib.sha256(files[name]).hexdigest()
        header.pop("checksum", None)
        text = (json.dumps(header, indent=2) + "\n").encode()
        header["checksum"] = hashlib.sha256(text).hexdigest()
        text = json.dumps(header).encode()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return files
    return {**files, "run.json": text}


def _bytes_changed(content: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(content) + 1)
    some = bytes(chance.choice(b"\0\xff[{(9'\\,:eL") for _ in range(chance.choice((1, 1, 4, 50))))
    ways = (
        content[:place],
        content[:place] + some + content[place:],
        content[:place] + some + content[place + len(some) :],
        content[:place] + content[place + chance.randrange(1, 9) :],
        content + content,
        content[:place] + chance.choice((b"[", b"(", b'{"":')) * 100_000,
    )
    return chance.choice(ways)


def _structure_changed(content: bytes, chance: random.Random) -> bytes:
    """Another value in a JSON text, or in that at the head of a safetensors file; or another NPY header."""
    if content.startswith(b"\x93NUMPY"):
        shape = chance.choice(
            (b"(10**9,)", b"(999999999999,)", b"(-1,)", b"(4, 1)", b"(((((4,)", b"(4")
        )
        return content.replace(b"(4,)", shape) + b"\0" * chance.choice((0, 8))
    try:
        size = 0 if content.startswith(b"{") else 8 + int.from_bytes(content[:8], "little")
        tree = json.loads(content[8:size] if size else content)
        _swap(tree, chance)
        text = json.dumps(tree).encode()
    except (ValueError, RecursionError, TypeError):
        return _bytes_changed(content, chance)
    return len(text).to_bytes(8, "little") + text + content[size:] if size else text


def _swap(tree: Any, chance: random.Random) -> None:
    """Put something odd in the place of one value, or take a key away, or add one."""
    while True:
        places = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
        if not places:
            return
        key = chance.choice(places)
        inner = tree[key]
        if isinstance(inner, dict | list) and inner and chance.random() < 0.8:
            tree = inner
            continue
        way = chance.random()
        if way < 0.1:
            del tree[key]
        elif way < 0.2 and isinstance(tree, dict):
            tree[chance.choice(("", "a", "backend", "learned"))] = chance.choice(ODD)()
        else:
            tree[key] = chance.choice(ODD)()
        return


def try_reading(files: Files, folder: Path) -> bool:
    """Whether a run of these files is read. Raises whatever is no InputError."""
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    started = time.perf_counter()
    try:
        fit = load(folder)
        repr(fit)
        with np.errstate(all="ignore"):
            fit.posterior(np.zeros((2, 3)))
        run = load_run(folder)
        Fitted.of(run.data)
        repr(run.training), run.is_finished
        return True
    except InputError:
        return False
    finally:
        if time.perf_counter() - started > SECONDS:
            raise TimeoutError(f"longer than {SECONDS:g} s")


def main(arguments: list[str] | None = None) -> None:
    """Try many, in bounded memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    memory = Path("/dev/shm")
    folder = Path(mkdtemp(dir=memory if memory.is_dir() else None))
    good, read = good_run(), 0
    try_reading(good, folder)  # everything is imported
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY,) * 2)
    try:
        for number in range(options.seed, options.seed + options.count):
            try:
                read += try_reading(mutated(good, random.Random(number)), folder)
            except BaseException:
                print(f"mutation {number}", file=sys.stderr)
                raise
    finally:
        shutil.rmtree(folder)
    print(f"{options.count:,} mutated runs: {read:,} read, the others refused")


if __name__ == "__main__":
    main()
