"""A lowered graph as machine code: by a process of its own or from disk; on a GPU a CUDA graph."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from pyro_impl.compilation_cache import packages
from pyro_impl.compiled.agreement import rewinding
from pyro_impl.compiled.errors import CannotCompileError, compiler_reason
from pyro_impl.compiled.graph_text import text_of, write_graph
from pyro_impl.compiled.lowering import Lowered
from pyro_impl.compiled.settings import settings
from pyro_impl.torch_private import load_package, stays_in_place, tree_map
from twinplate import __version__
from twinplate.errors import InputError
from twinplate.files import write_text

# The random numbers are those of the eager program: drawn by torch's generator, not by one that the compiler
# writes into its loops, and in the order of the program, which moving operations together would change.
OPTIONS = {"fallback_random": True, "reorder_for_locality": False}
# What the environment says to the compiler; where it keeps its files changes nothing.
SAID = ("TORCHINDUCTOR_", "AOT_INDUCTOR_", "CXX", "ATEN_CPU_CAPABILITY")
NOT_SAID = "TORCHINDUCTOR_CACHE_DIR"

Run = Callable[..., Any]


def begin_compiling(
    graph: Lowered, arguments: Sequence[Tensor], written: Sequence[Tensor]
) -> Callable[[], Run]:
    """Begin to make machine code for `graph` on arguments of these shapes; what is returned waits for it.

    written: those of its tensors that it writes into.

    Both raise CannotCompileError, as where there is no C++ compiler.
    """
    inputs = [*graph.tensors, *arguments]
    if _on_gpu(inputs):  # compiled where it runs, when it is asked for
        return partial(_cuda_graph, graph, inputs, written)
    _check_memory(inputs, written)
    request = {
        "graph": write_graph(graph.module, inputs),
        "options": OPTIONS,
        "settings": settings(),
        "machine": _machine(),
        "twinplate": __version__,  # its own operations
        "environment": {
            k: v for k, v in os.environ.items() if k.startswith(SAID) and k != NOT_SAID
        },
    }
    return Compilation(text_of(request), written).result


def _check_memory(inputs: Sequence[Tensor], written: Sequence[Tensor]) -> None:
    """Machine code reads and writes each input for itself, in whatever order."""
    changed = {t.untyped_storage().data_ptr(): t for t in written if t.numel()}
    for tensor in inputs:
        other = changed.get(tensor.untyped_storage().data_ptr()) if tensor.numel() else None
        if other is not None and other is not tensor:
            raise CannotCompileError("it reads a tensor in two ways, of which it changes one")


@cache
def _machine() -> list[str]:
    """What machine code depends on besides its graph."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.exists() else []
    known = ("model name", "flags", "Features", "CPU part")
    cpu = sorted({line for line in lines if line.startswith(known)})
    return [torch.__version__, platform.platform(), platform.processor(), *cpu]


class Compilation:
    """Machine code that is being made of the graph in `text`; who lets go of it ends that."""

    def __init__(self, text: str, written: Sequence[Tensor]) -> None:
        folder, key = packages(), hashlib.sha256(text.encode()).hexdigest()[:32]
        self._package, self._written = folder / f"{key}.pt2", written
        self._job: _Job | None = None
        self._found = self._load() if self._package.exists() else None
        if self._found is None:
            try:
                write_text(folder / f"{key}.json", text)
            except InputError as error:
                raise CannotCompileError(str(error)) from error
            self._job = _Job(folder, key)

    def __del__(self) -> None:
        job = getattr(self, "_job", None)
        if job is not None:
            job.end()

    def result(self) -> Run:
        """`run(*tensors, *arguments)`, once it is there. Raises CannotCompileError."""
        if self._found is None:
            assert self._job is not None
            if reason := self._job.reason():
                raise CannotCompileError(reason)
            self._found = self._load()
        if self._found is None:
            raise CannotCompileError("what torch's compiler made cannot be loaded")
        run, written = self._found, self._written

        def quiet(*inputs: Tensor) -> Any:
            with torch.no_grad():  # gradients are in the graph
                found = run([*inputs])
            torch.autograd.graph.increment_version(written)  # of which machine code says nothing
            return found

        return quiet

    def _load(self) -> Callable[[list[Tensor]], list[Tensor]] | None:
        """None for a file that is damaged, which is removed."""
        try:
            os.utime(self._package)
            return load_package(self._package)
        except (OSError, RuntimeError):
            self._package.unlink(missing_ok=True)
            return None


class _Job:
    """The process that compiles, and the thread that waits for it: one process at a time."""

    ALONE = threading.Lock()
    STARTING = threading.Lock()  # a process that is forked meanwhile would keep the pipe, unknown
    running: ClassVar[_Job | None] = None

    def __init__(self, folder: Path, key: str) -> None:
        self._package = folder / f"{key}.pt2"
        self._command = [
            sys.executable,
            "-P",
            "-m",
            "pyro_impl.compiled.compiler",
            str(folder),
            key,
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self._start()

    def _start(self) -> None:
        self._reason: str | None = None  # until it is known
        self._is_wanted = True
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def reason(self) -> str:
        """Wait; why there is no machine code, or nothing."""
        if not self._thread.is_alive() and self._reason is None:
            self._start()  # the thread is that of the process that this one was forked from
        self._thread.join()
        return self._reason or ""

    def end(self) -> None:
        """Whoever asked for it does not any more, or has it."""
        self._is_wanted = False
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def _run(self) -> None:
        try:
            with self.ALONE:
                self._reason = self._compile()
        except (OSError, ValueError) as error:
            self._reason = f"no process could be started to compile: {error}"

    def _compile(self) -> str:
        if not self._is_wanted or self._package.exists():  # another one made it meanwhile
            return ""
        # It finds what this process finds, and no module of the folder that it is started in.
        path = os.pathsep.join(filter(None, sys.path))
        world = os.environ | {"PYTHONPATH": path, "TORCHINDUCTOR_COMPILE_THREADS": "1"}
        with tempfile.TemporaryFile() as said:
            with self.STARTING:
                # A session of its own: Ctrl-C is the caller's. Its standard input ends when the caller does.
                self._process = subprocess.Popen(
                    self._command,
                    env=world,
                    stdin=subprocess.PIPE,
                    stdout=said,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
                _Job.running = self
            code = self._process.wait()
            _Job.running = None
            self.end()
            said.seek(0)
            lines = said.read().decode(errors="replace").strip().splitlines()
        ended = f"the process that compiles ended with code {code}"
        return (lines[-1] if code == 1 and lines else ended) if code else ""


def end_compiling() -> None:
    """End the process that compiles, if one does, and wait until it writes no more."""
    job = _Job.running
    if job is not None and job._process is not None:
        job.end()
        job._process.wait()


def _after_fork() -> None:
    """The forked process has none of the threads, and is not the caller that the compiler ends with."""
    _Job.STARTING.release()
    _Job.ALONE = threading.Lock()
    if _Job.running is not None:
        _Job.running.end()
        _Job.running = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_Job.STARTING.acquire,
        after_in_parent=_Job.STARTING.release,
        after_in_child=_after_fork,
    )


def _on_gpu(tensors: list[Tensor]) -> bool:
    return any(t.is_cuda for t in tensors)


def _cuda_graph(graph: Lowered, inputs: list[Tensor], written: Sequence[Tensor]) -> Run:
    for tensor in graph.tensors:  # others are copied to where the graph was recorded, in every step
        stays_in_place(tensor)
    options: dict[str, Any] = OPTIONS | {"triton.cudagraphs": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are about the compiler's own code
        run = torch.compile(graph.module, dynamic=False, options=options)

    def cloned(*inputs: Tensor) -> Any:
        torch.compiler.cudagraph_mark_step_begin()
        with torch.no_grad():  # the next replay overwrites what this one returns
            return tree_map(Tensor.clone, run(*inputs))

    # torch.compile compiles in the first call, so that one is made here, where a compiler that fails is
    # caught. It counts for nothing: what it writes and draws is undone, and arguments are copies.
    rewind = rewinding(written)
    arguments = [t.clone() for t in inputs[len(graph.tensors) :]]
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cloned(*graph.tensors, *arguments)
    except Exception as error:
        raise CannotCompileError(compiler_reason(error)) from error
    rewind()
    return cloned
