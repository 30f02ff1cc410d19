"""A stranger's run directory: files with mistakes put in on purpose, their checksums made to fit.

    python tests/training/mutated_runs.py [--count 1000000] [--seed 0]

tries as many, and tells how far it is every 20 seconds. Each is read, or refused by an InputError, in 5
seconds and 256 MiB at most; anything else ends it with the number of the mutation. `test_mutated_runs.py`
tries some in every run of the tests.
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
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # where this is a script

from mutated_files import bytes_changed, structure_changed

from twinplate import Fit, InputError, ProgramConfig, TrainingConfig, load, make_program
from twinplate.commands.training_run import extended
from twinplate.data.columns import Fitted
from twinplate.programs.parameters import initial_params
from twinplate.training.run_directory import load_run
from twinplate.training.run_format import SavedRun, encoded
from twinplate.training.state import TrainingState

Files = dict[str, bytes]
SECONDS, MEMORY = 5.0, 2**28
TELL_EVERY = 20.0  # seconds


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
        change = chance.choice((bytes_changed, structure_changed, structure_changed))
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


def in_memory() -> Path | None:
    """Where files are written to no disk, if this system has such a place."""
    return place if (place := Path("/dev/shm")).is_dir() else None


def main(arguments: list[str] | None = None) -> None:
    """Try many, in bounded memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    folder = Path(mkdtemp(dir=in_memory()))
    good, read, told = good_run(), 0, time.monotonic()
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
            if time.monotonic() - told > TELL_EVERY:
                told = time.monotonic()
                print(f"{number + 1 - options.seed:,} tried, {read:,} read", flush=True)
    finally:
        shutil.rmtree(folder)
    print(f"{options.count:,} mutated runs: {read:,} read, the others refused")


if __name__ == "__main__":
    main()
