"""Progress bars: training with its loss and speed, passes over large data; a line for other work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from twinplate.data.blocks import Rows
from twinplate.training.state import Array
from twinplate.training.state import Progress as Report


@contextmanager
def training_progress(title: str, steps: int, batch_size: int) -> Iterator[Report]:
    """A bar on stderr while training; yields the callback that `fit` takes as `progress`."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("loss {task.fields[loss]}"),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=steps, loss="–", speed="starting")
        started: list[tuple[float, int]] = []

        def report(done: int, losses: Array) -> None:
            now = time.perf_counter()
            if not started:  # the first chunk compiles; its time says nothing about speed
                started.append((now, done))
            since, first = started[0]
            speed = (done - first) * batch_size / (now - since) if done > first else 0.0
            text = f"{speed:,.0f} items/s" if speed else "…"
            bar.update(task, completed=done, loss=f"{losses.mean():.3f}", speed=text)

        yield report


@contextmanager
def working(title: str) -> Iterator[Callable[[str], None]]:
    """Tell on stderr what is being done; nothing is shown where that is no terminal."""
    with Console(stderr=True).status(f"{title}: starting") as status:
        yield lambda text: status.update(f"{title}: {text}")


@contextmanager
def rows_progress(title: str) -> Iterator[Rows]:
    """A bar on stderr over the rows of a matrix, for passes of more than one block.

    Yields the callback that is told the rows done and the rows in all; several passes in a row share
    the bar.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, visible=False)

        def report(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, visible=done < total)

        yield report
