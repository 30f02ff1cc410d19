"""A stranger's run or record by a fuzzer that watches which lines of twinplate its mistakes reach.

    pip install atheris        # where it has a wheel; it is no dependency of the tests
    python tests/training/guided_mutations.py [--seconds 600]

It writes whole files, and also the JSON header of one, with checksums that fit. Each is read, or refused by
an InputError, in 5 seconds and 256 MiB at most. Whatever else happens ends it, and the input is left in the
present directory.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import atheris
import numpy as np

with atheris.instrument_imports(include=["twinplate"]):
    import mutated_runs
    from mutated_runs import MEMORY, SECONDS, Files, good_run, resealed, try_reading

    from twinplate import InputError, Record, compare

sys.path.insert(0, str(Path(__file__).parents[1] / "records"))

from test_record_file import made


class Target:
    """What the fuzzer calls, with two bytes that choose what it has written, and that."""

    def __init__(self, folder: Path) -> None:
        self._run, self._record = folder / "run", folder / "a.record"
        self._good, self._made = good_run(), made()
        self._made.save(self._record)
        self._whole = self._record.read_bytes()
        size = 8 + int.from_bytes(self._whole[:8], "little")
        self._numbers = self._whole[size:]

    def seeds(self) -> list[bytes]:
        """Good inputs of every kind to start from."""
        names = sorted(self._good)
        files = [bytes([number]) + self._good[name] for number, name in enumerate(names)]
        header = self._whole[8 : len(self._whole) - len(self._numbers)]
        return [*files, bytes([len(names)]) + self._whole, bytes([len(names) + 1]) + header]

    def __call__(self, data: bytes) -> None:
        if not data:
            return
        names = sorted(self._good)
        choice, content = data[0] % (len(names) + 2), data[1:]
        if choice < len(names):
            files: Files = {**self._good, names[choice]: content}
            try_reading(resealed(files), self._run)
            return
        if choice > len(names):
            content = len(content).to_bytes(8, "little") + content + self._numbers
        self._record.write_bytes(content)
        try:
            with np.errstate(all="ignore"):
                str(compare(self._made, Record.load(self._record)))
        except InputError:
            pass


def main() -> None:
    """Fuzz until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=600)
    seconds = parser.parse_args().seconds
    with TemporaryDirectory(dir=mutated_runs.in_memory()) as folder:
        target, corpus = Target(Path(folder)), Path(folder) / "corpus"
        corpus.mkdir()
        for number, content in enumerate(target.seeds()):
            (corpus / str(number)).write_bytes(content)
            target(content)  # everything is imported
        limits = [f"-max_total_time={seconds}", f"-timeout={SECONDS:g}", "-max_len=20000"]
        memory = [f"-malloc_limit_mb={MEMORY >> 20}", "-rss_limit_mb=4096"]
        atheris.Setup([sys.argv[0], *limits, *memory, str(corpus)], target)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
