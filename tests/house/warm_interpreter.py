"""Scripts of the documentation run in forks of one interpreter that has imported the frameworks.

The imports take six seconds, most scripts less. A fork is safe here: there is one thread
(`OMP_NUM_THREADS=1`), and the imports touch no device.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess

FORKS = """
import json, os, runpy, sys
import flax, jax, numpyro, optax, pyro, torch

for line in sys.stdin:
    script, folder = json.loads(line)
    if os.fork():
        print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
        continue
    os.chdir(folder)
    for stream, (name, flags) in enumerate([
        (os.devnull, os.O_RDONLY), ("stdout", os.O_WRONLY | os.O_CREAT), ("stderr", os.O_WRONLY | os.O_CREAT)
    ]):
        os.dup2(os.open(name, flags), stream)
    sys.path[0], sys.argv = os.path.dirname(script), [script]
    break
else:
    sys.exit()
runpy.run_path(script, run_name="__main__")
"""


class WarmInterpreter:
    """`run(script, folder)` runs a script as `python SCRIPT` would in `folder`, which it leaves two files in.

    There is no limit in seconds: how many a script takes depends on what else the machine does.
    """

    def __init__(self, server: subprocess.Popen[str]):
        self.server = server

    def run(self, script: Path, folder: Path) -> CompletedProcess[str]:
        print(json.dumps([str(script), str(folder)]), file=self.server.stdin, flush=True)
        answer = self.server.stdout.readline()
        assert answer, "the interpreter that forks has ended"
        printed = [(folder / name).read_text() for name in ("stdout", "stderr")]
        return CompletedProcess(str(script), int(answer), *printed)


@contextmanager
def warm_interpreter() -> Iterator[WarmInterpreter]:
    """From the first script to the last."""
    server = subprocess.Popen(
        [sys.executable, "-W", "ignore:os.fork:RuntimeWarning", "-c", FORKS],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with server:
        yield WarmInterpreter(server)
        server.stdin.close()
