"""The devices that a command spreads mini-batches over, and the processes that train together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any

from twinplate.backends import load_backend
from twinplate.commands.workers import tell_of_turns, torchrun_rank
from twinplate.errors import InputError
from twinplate.progress import hide_progress
from twinplate.training.run_format import SavedRun
from twinplate.words import counted


@dataclass(frozen=True)
class Devices:
    """What `Trainer` is told of them, and this process among those that train together.

    options: arguments of `Trainer` by name.
    rank: of this process. That of rank 0 alone writes the run directory and prints.
    leave: called when training is over, by all processes together.
    hand: called by all with the run before its first step, or None; every one is given that of rank 0.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    rank: int = 0
    leave: Callable[[], None] = lambda: None
    hand: Callable[[SavedRun | None], SavedRun | None] = lambda run: run

    @property
    def is_first(self) -> bool:
        """Whether this process looks at all data, writes and prints."""
        return self.rank == 0

    @contextmanager
    def handing(self) -> Iterator[Callable[[SavedRun], object]]:
        """For rank 0: a context in which the run is made that is handed to the others by what it yields.

        Where nothing comes of it they are told, and do not wait for ever.
        """
        handed = False

        def hand(run: SavedRun) -> None:
            nonlocal handed
            handed = True
            self.hand(run)

        try:
            yield hand
        except BaseException:
            if not handed:
                with suppress(Exception):  # they may be gone, and this error came first
                    self.hand(None)
            raise


def check_count(count: int | None, batch_size: int) -> None:
    """Raise InputError unless each of so many devices gets an item of a mini-batch of this size."""
    if count is not None and count < 1:
        raise InputError(f"--devices is {count}; expected 1 or more")
    if count is not None and count > batch_size:
        raise InputError(
            f"--devices is {count}, and a mini-batch has {counted(batch_size, 'item')}; expected no more "
            "devices than items of a mini-batch"
        )


def chosen_devices(backend: str, device: str, count: int | None) -> Devices:
    """The first `count` of every process, of the kind that `device` names; by default one, or all of many.

    They are chosen before the framework has started, which can make several of one CPU only then; other
    processes that the environment names are joined. Raises InputError where there are not as many.
    """
    load_backend(backend)  # says what to install
    if torchrun_rank() is not None:
        if backend != "pyro" or count is not None:
            raise InputError(
                "under torchrun each process has one device of Pyro's; expected --backend pyro, and no "
                "--devices"
            )
        groups = import_module("pyro_impl.training.groups")
        group = groups.join()
        return Devices({"group": group}, 0, groups.leave, partial(groups.given, group))
    if backend == "pyro":
        return Devices()
    processes = import_module("numpyro_impl.processes")
    found, rank = processes.chosen_devices(device, count)
    if found is None:
        return Devices()
    if rank > 0:
        hide_progress()
    elif count is not None and found[0].platform == "cpu":
        tell_of_turns(count)
    return Devices({"devices": found}, rank, processes.leave_processes, processes.given)
