"""The processes of torchrun: started by the command itself, and what those do that are not of rank 0."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from twinplate.backends import load_backend
from twinplate.commands.offset_column import offsets_of_run
from twinplate.commands.run_data import items_of_run
from twinplate.commands.told import tell
from twinplate.errors import InputError
from twinplate.lifetime import LAUNCHER, end_with_launcher
from twinplate.training.errors import NonFiniteLossError, ProcessLostError, TrainingError
from twinplate.training.loop import train
from twinplate.training.run_format import SavedRun
from twinplate.training.shares import LostProcessError
from twinplate.words import counted


def torchrun_rank() -> int | None:
    """Of this process among those that torchrun, or `launched`, has started; None where it is alone."""
    return int(os.environ["RANK"]) if "TORCHELASTIC_RUN_ID" in os.environ else None


def launched(backend: str, device: str, count: int | None, path: Path) -> int | None:
    """The exit code of this command by `count` processes, where as many devices need one each.

    None where this process does the work: alone, over its own devices, or as one of several.
    path: of the run.
    """
    if count is None or count < 2 or backend != "pyro" or torchrun_rank() is not None:
        return None
    load_backend(backend)  # says what to install
    if importlib.import_module("pyro_impl.device").find_device(device).type == "cpu":
        tell_of_turns(count)
    launching = importlib.import_module("pyro_impl.training.launching")
    os.environ[LAUNCHER] = str(os.getpid())
    ended = launching.launch(_without_devices(sys.argv[1:]), count, device)
    if ended.lost is not None:
        which, name = ended.lost
        kept = f"; go on with what was reached by --resume {path}" if path.exists() else ""
        tell(
            Console(stderr=True),
            f"twinplate: of {count} processes that of rank {which} was ended by {name}, and so the others "
            f"stopped{kept}",
        )
    code: int = ended.exit_code
    return code


def tell_of_turns(count: int) -> None:
    """Say so where so many devices, made of this machine's cores, are more than there are."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if cores and count > cores:
        tell(
            Console(stderr=True),
            f"twinplate: {count} devices share {counted(cores, 'core')}: they take turns, and a step takes "
            "longer than with fewer",
        )


def _without_devices(words: Sequence[str]) -> list[str]:
    """The words of a command line but for the option `--devices`."""
    found, skip = [], False
    for word in words:
        if not skip and not word.startswith("--devices"):
            found.append(word)
        skip = word == "--devices"
    return found


def followed(data: Path) -> int | None:
    """The exit code of a process of torchrun that is not of rank 0: takes the steps along, and says nothing.

    None in any other process. Rank 0 has the run, which this one is given; of `data` it reads its rows.
    """
    here = torchrun_rank()
    if here is not None:
        end_with_launcher()
    if not here:
        return None
    for number in (signal.SIGINT, signal.SIGTERM):  # ends at once: there is nothing to be kept here
        signal.signal(number, signal.SIG_DFL)
    warnings.simplefilter("ignore")
    implementation = load_backend("pyro")
    groups = importlib.import_module("pyro_impl.training.groups")
    try:
        group = groups.join()
        run: SavedRun | None = groups.given(group)
        if run is None:
            return 2  # rank 0 says why
        x = items_of_run(data, run)
        offsets = offsets_of_run(data, run, run.data.get("selected", ()))
        way = {"state": run.state, "group": group, "offsets": offsets}
        trainer = implementation.Trainer(x, run.program, run.training, **way)
        train(trainer, trainer.plan())
        groups.leave()
    except (LostProcessError, ProcessLostError, NonFiniteLossError):
        return 2  # rank 0 says it
    except (InputError, TrainingError) as error:
        tell(Console(stderr=True), f"twinplate: in the process of rank {here}: {error}")
        return 2
    return 0
