"""A process that compiles one graph, for a caller that goes on meanwhile.

    python -m pyro_impl.compiled.compiler FOLDER KEY

reads FOLDER/KEY.json and makes FOLDER/KEY.pt2 of it. What is printed last is why that failed. The process,
and the C++ compiler that it starts, end when the standard input ends: when the caller does, however it does.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from pyro_impl.compilation_cache import MOST_BYTES
from pyro_impl.compiled import onednn  # noqa: F401, its operation is in graphs
from pyro_impl.compiled.errors import compiler_reason
from pyro_impl.compiled.graph_text import read_graph
from pyro_impl.compiled.settings import set_settings
from pyro_impl.torch_private import write_package
from twinplate.files import replacing
from twinplate.user_cache import make_room


def main(folder: Path, key: str) -> int:
    """Compile; the exit code."""
    threading.Thread(target=_end_with_the_caller, daemon=True).start()
    _give_way()
    request, package = folder / f"{key}.json", folder / f"{key}.pt2"
    try:
        with _alone(folder, key), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are about the compiler's own code
            if not package.exists():
                _compile(json.loads(request.read_text(encoding="utf-8")), package)
                make_room(folder, MOST_BYTES)
    except Exception as error:
        print(compiler_reason(error))
        return 1
    return 0


def _compile(request: dict[str, Any], package: Path) -> None:
    set_settings(request["settings"])
    module, inputs = read_graph(request["graph"])
    with torch.no_grad(), replacing(package) as temporary:
        file = temporary.with_suffix(".pt2")  # torch insists on it
        write_package(module, inputs, request["options"], file)
        os.replace(file, temporary)


@contextmanager
def _alone(folder: Path, key: str) -> Iterator[None]:
    """Of processes that are to compile the same graph one does; the others find what it made.

    A file of its own: each caller puts a new request in the place of the last one, and a lock is on what a
    name stands for when it is opened.
    """
    lock = folder / f"{key}.lock"
    lock.touch()  # what nobody has used for longest is removed
    with lock.open("a") as file:
        try:
            import fcntl
        except ImportError:  # not on Windows, where each makes its own
            pass
        else:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _end_with_the_caller() -> None:
    os.read(sys.stdin.fileno(), 1)  # which leaves Python nothing to wait for at its end
    if hasattr(os, "killpg"):
        os.killpg(os.getpgrp(), signal.SIGKILL)  # of which it is the first, with its C++ compiler
    os._exit(1)


def _give_way() -> None:
    """The caller's steps come first; and where memory runs out, it is this process that goes."""
    if hasattr(os, "nice"):
        os.nice(5)
    with suppress(OSError):  # no Linux
        Path("/proc/self/oom_score_adj").write_text("1000")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
