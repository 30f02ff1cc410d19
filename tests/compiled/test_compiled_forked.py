"""A process forked from one whose steps are machine code, or will be: data loaders are, say."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from compiled_cases import ITEMS, batches
from compiler_runs import WAIT, gone, job_of, started, with_machine_code

from pyro_impl import EagerWarning
from pyro_impl.compiled import compilation

pytestmark = [
    pytest.mark.usefixtures("own_world"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork"),
]


def forked(function) -> str:
    """What it returns in a process that is forked from this one."""
    if "jax" in sys.modules:
        pytest.skip("a process with JAX is not forked; run this file by itself")
    read, write = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            os.close(read)
            os.write(write, function().encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as file:
        said = file.read()
    os.waitpid(process, 0)
    return said


@pytest.mark.slow  # for processes without JAX, whose threads a fork can leave at a standstill
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
class TestWhileAnotherCompiles:
    """The fork has no thread of its caller's, and the compiler is a thread's."""

    def test_compiles_for_itself(self, compiler):
        """And its caller's goes on."""
        compiler(WAIT)
        _, _, svi = with_machine_code(100, steps=3)
        job = job_of(svi)
        started(job)

        def in_child():
            job.code = "print('cannot'); raise SystemExit(1)"
            svi.number = 99
            with pytest.warns(EagerWarning, match="without machine code: cannot"):
                svi.step(*batches(ITEMS)[0])
            return "told"

        assert forked(in_child) == "told" and job._process.poll() is None

    @pytest.fixture
    def job(self, tmp_path, compiler):
        compiler(WAIT)
        job = compilation._Job(tmp_path, "a")
        started(job)
        yield job
        job.end()
        job._thread.join()

    def test_loads_what_its_caller_has_made(self, tmp_path, job):
        def in_child():
            (tmp_path / "a.pt2").touch()
            return f"{job.reason()!r}"

        assert forked(in_child) == "''"

    def test_does_not_keep_the_compiler_alive(self, job):
        read, write = os.pipe()

        def in_child():
            os.close(write)
            return os.read(read, 1).decode()  # nothing, once the caller has closed the other end

        with ThreadPoolExecutor() as pool:
            said = pool.submit(forked, in_child)
            time.sleep(0.5)
            job.end()
            ended = gone(job._process.pid)
            os.close(write)
            assert said.result() == "" and ended
        os.close(read)

    def test_knows_why_its_caller_had_no_machine_code(self, tmp_path, compiler):
        compiler("print('cannot'); raise SystemExit(1)")
        job = compilation._Job(tmp_path, "a")
        job.reason()
        job.code = WAIT
        assert forked(job.reason) == "cannot"


def test_a_forked_process_leaves_the_folder_of_its_caller():
    """The one that stands in where the user's cache directory cannot be used, and is removed at the end."""
    code = """
import os, sys
from pyro_impl.compilation_cache import _own_directory
folder = _own_directory()
child = os.fork()
if not child:
    sys.exit()
os.waitpid(child, 0)
print(folder.exists(), folder)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    existed, folder = done.stdout.split(maxsplit=1)
    assert existed == "True" and not Path(folder.strip()).exists()
