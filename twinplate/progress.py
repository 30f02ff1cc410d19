"""Progress: training with its loss and speed, passes over large data; a line for other work."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from twinplate.data.blocks import Rows
from twinplate.training.state import Progress as Report
from twinplate.words import counted

FIRST = 2.0  # seconds of work that pass before the first line of a log
EVERY = 10.0  # seconds between two of them
OFTEN = 1.0  # seconds between two changes of the line of a notebook

_hidden: ContextVar[bool] = ContextVar("hidden", default=False)


def hide_progress() -> None:
    """From now on and in this context, nothing of it is shown."""
    _hidden.set(True)


def _console() -> Console:
    return Console(stderr=True, quiet=_hidden.get())


@contextmanager
def training_progress(title: str, steps: int, batch_size: int) -> Iterator[Report]:
    """Progress on stderr while training; yields the callback that `fit` takes as `progress`.

    A bar in a terminal; in a log a line after FIRST seconds, then in about EVERY seconds, and the last; in a
    notebook one line, which changes.
    """
    started: list[tuple[float, int]] = []

    def speed(done: int) -> str:
        now = time.perf_counter()
        if not started:  # the first chunk compiles; its time says nothing about speed
            started.append((now, done))
        since, first = started[0]
        return (
            f"{(done - first) * batch_size / (now - since):,.0f} items/s" if done > first else "…"
        )

    console = _console()
    shown = _training_bar if console.is_terminal else _training_lines
    with shown(console, title, steps) as show:
        yield lambda done, losses: show(done, float(losses.mean()), speed(done))


# Told the steps done, the mean loss of the last ones, and the speed.
Show = Callable[[int, float, str], None]


@contextmanager
def _training_bar(console: Console, title: str, steps: int) -> Iterator[Show]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("loss {task.fields[loss]}"),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=steps, loss="–", speed="starting")
        yield lambda done, loss, speed: bar.update(
            task, completed=done, loss=f"{loss:.3f}", speed=speed
        )


@contextmanager
def _training_lines(console: Console, title: str, steps: int) -> Iterator[Show]:
    line = _Lines(console, f"{title}: {counted(steps, 'step')}")
    yield lambda done, loss, speed: line(
        f"{title}: step {done:,} of {steps:,}, loss {loss:.3f}, {speed}", last=done >= steps
    )


class _Lines:
    """Prints what it is told after FIRST seconds and then every EVERY seconds, and what is last.

    In a notebook every line would be an output of its own, hundreds of them in an hour, all kept in its file:
    there each takes the place of the one before.
    """

    def __init__(self, console: Console, first: str = "") -> None:
        self.console, self.next = console, time.perf_counter() + FIRST
        self.every = OFTEN if console.is_jupyter else EVERY
        self.output, self.shown = uuid.uuid4().hex, False
        if first:
            self._print(first)

    def __call__(self, text: str, last: bool = False) -> None:
        if last or time.perf_counter() >= self.next:
            self._print(text)
            self.next = time.perf_counter() + self.every

    def _print(self, text: str) -> None:
        if not self.console.is_jupyter:
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)
        elif not self.console.quiet:
            display = import_module("IPython.display").display  # a notebook has it
            plain = {"text/plain": text}
            display(plain, raw=True, display_id=self.output, update=self.shown)
            self.shown = True


@contextmanager
def working(title: str) -> Iterator[Callable[[str], None]]:
    """Tell on stderr what is being done: in a log by a line now and then, in a notebook by one line."""
    console = _console()
    if not console.is_terminal:
        line = _Lines(console)
        yield lambda text: line(f"{title}: {text}")
        return
    with console.status(f"{title}: starting") as status:
        yield lambda text: status.update(f"{title}: {text}")


@contextmanager
def rows_progress(title: str) -> Iterator[Rows]:
    """Progress on stderr over the rows of a matrix, for passes of more than one block.

    Yields the callback that is told the rows done and the rows in all; several passes in a row share a bar.
    In a log a line after FIRST seconds, then in about EVERY seconds; in a notebook one that changes.
    """
    console = _console()
    if not console.is_terminal:
        line = _Lines(console)
        yield lambda done, total: line(f"{title}: {done:,} of {total:,} items")
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, visible=False)

        def report(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, visible=done < total)

        yield report
