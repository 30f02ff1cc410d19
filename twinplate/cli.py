"""The command line: one function for each command of `twinplate`, here or in `twinplate.commands`."""

from __future__ import annotations

import sys
import traceback
from contextvars import copy_context
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from twinplate import __version__
from twinplate.commands.answer import write_json
from twinplate.commands.checkpoints import EVERY
from twinplate.commands.choose_command import choose
from twinplate.commands.convert_command import convert
from twinplate.commands.doctor_command import doctor
from twinplate.commands.impute_command import impute
from twinplate.commands.options import (
    Data,
    Drop,
    IdColumn,
    Items,
    JsonOut,
    Layer,
    Quiet,
    Run,
    quieten,
)
from twinplate.commands.program_commands import bench, compare, record, verify
from twinplate.commands.report_command import report
from twinplate.commands.score_command import score
from twinplate.commands.stopping import stoppable
from twinplate.commands.summary_command import summary
from twinplate.commands.told import tell
from twinplate.errors import InputError

if TYPE_CHECKING:
    from twinplate.data.table import Missing

# Options that may stand beside --resume, and DATA.
RESUMABLE = {"data", "resume", "steps", "backend", "devices", "checkpoint_every", "json"}

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        print(f"twinplate {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="No progress; before the command or after it.")
    ] = False,
) -> None:
    """Programs in Pyro and in NumPyro: verify that they are the same, fit them, compare them."""
    quieten(quiet)


def demo(
    out: Annotated[Path, typer.Option(help="New directory for pictures and numbers.")] = Path(
        "demo-out"
    ),
    quick: Annotated[bool, typer.Option("--quick", help="Fewer steps: under a minute.")] = False,
    json: JsonOut = None,
    quiet: Quiet = False,
) -> None:
    """Fit three guides in both frameworks on real images, beside the exact answer.

    Example: twinplate demo --quick --out pictures
    """
    from twinplate.demo.run import run_demo  # needs the extra `all`

    write_json(json, run_demo(out, quick))


def fit(
    given: typer.Context,
    data: Data,
    out: Annotated[
        Path | None, typer.Option(help="New run directory; needed without --resume.")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            help="Run directory to go on with, on the same DATA; all else is the run's, but for --steps, "
            "--backend, --devices and --checkpoint-every."
        ),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            help="pyro or numpyro; by default the run's, or what is installed, NumPyro if both are."
        ),
    ] = None,
    guide: Annotated[str, typer.Option(help="diagonal, event or auxiliary.")] = "auxiliary",
    covariance: Annotated[
        str, typer.Option(help="full, diagonal or low-rank; the diagonal guide has its own.")
    ] = "",
    rank: Annotated[int, typer.Option(help="R of a low-rank covariance.")] = 2,
    components: Annotated[int | None, typer.Option(help="K; needed without --loadings.")] = None,
    loadings: Annotated[
        Path | None,
        typer.Option(
            help="Fixed loadings (D, K); an NPZ may also hold intercept, noise_scale, loc, scale."
        ),
    ] = None,
    likelihood: Annotated[
        str, typer.Option(help="normal, poisson, negative-binomial or bernoulli.")
    ] = "normal",
    offset: Annotated[
        str,
        typer.Option(
            help="Of counts: the column of the items' offsets, such as library sizes; by default the counts "
            "of an item in all, over their mean."
        ),
    ] = "",
    no_offset: Annotated[
        bool, typer.Option("--no-offset", help="Of counts: the same offset for all items.")
    ] = False,
    objective: Annotated[str, typer.Option(help="elbo or simulated.")] = "elbo",
    steps: Annotated[
        int, typer.Option(help="Steps of Adam, in all; with --resume the run's, or more.")
    ] = 3000,
    batch_size: Annotated[int, typer.Option(help="B, 1 to the number of items.")] = 256,
    learning_rate: Annotated[
        float, typer.Option(help="At the first step; falls to 0 by a cosine.")
    ] = 1e-2,
    particles: Annotated[int, typer.Option(help="Draws per step.")] = 1,
    seed: Annotated[int, typer.Option(help="Key of every random stream.")] = 0,
    precision: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    device: Annotated[str, typer.Option(help="auto, cpu or gpu.")] = "auto",
    missing: Annotated[str, typer.Option(help="What empty cells are: error or mask.")] = "error",
    columns: Annotated[
        str, typer.Option(help="The features: their names, with commas between. By default all.")
    ] = "",
    drop: Drop = "",
    id_column: IdColumn = "",
    items: Items = "",
    layer: Layer = "",
    checkpoint_every: Annotated[
        float, typer.Option(help="Seconds of work at most that a killed process loses.")
    ] = EVERY,
    devices: Annotated[
        int | None,
        typer.Option(
            help="That share every mini-batch: GPUs, or parts of a CPU; by default one device."
        ),
    ] = None,
    json: JsonOut = None,
    quiet: Quiet = False,
) -> None:
    """Fit a model and guide to DATA and save a run directory that either framework can read.

    While training goes on, the run directory holds checkpoints. However a fit ended, `twinplate fit DATA
    --resume RUN` goes on with it, to the numbers of a run that was never stopped. Ctrl-C and SIGTERM save
    what was reached; the exit code is 130 or 143 then.

    Example: twinplate fit DATA.csv --components 8 --out RUN
    """
    from twinplate.backends import default_backend
    from twinplate.commands.fit_command import FitRequest, run_fit
    from twinplate.commands.resume_command import ResumeRequest, run_resume
    from twinplate.data.columns import Wanted
    from twinplate.programs.config import TrainingConfig

    if resume is not None:
        asked = _asked_for(given)
        _check_resumed(asked)
        more = steps if "steps" in asked else None
        request_more = ResumeRequest(data, resume, more, backend, checkpoint_every, devices, json)
        raise typer.Exit(run_resume(request_more, Console()))
    if out is None:
        raise InputError("--out is missing; give a new directory for the run, or --resume RUN")
    training = TrainingConfig(
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        particles=particles,
        objective=_objective(objective),
        seed=seed,
        precision=precision,
        device=device,
    )
    request = FitRequest(
        data,
        out,
        backend or default_backend(),
        guide,
        covariance,
        rank,
        components,
        loadings,
        _missing(missing),
        Wanted.parsed(columns, drop, id_column, items, layer),
        checkpoint_every,
        devices,
        json,
        likelihood,
        offset,
        no_offset,
    )
    raise typer.Exit(run_fit(request, training, Console()))


def posterior(
    run: Run,
    data: Data,
    out: Annotated[
        Path,
        typer.Option(
            help="New FILE.npz: loc (N, K), scale_tril (N, K, K). Or, without a suffix, a new directory: "
            "loc.npy and scale_tril_packed.npy (N, K (K + 1) / 2), triangles row by row."
        ),
    ],
    backend: Annotated[
        str | None, typer.Option(help="pyro or numpyro; by default NumPy, which needs neither.")
    ] = None,
    json: JsonOut = None,
    quiet: Quiet = False,
    drop: Drop = "",
    id_column: IdColumn = "",
    items: Items = "",
    layer: Layer = "",
) -> None:
    """Write the guide's posterior of every item of DATA, seen in training or new.

    The columns of DATA are found by the names that they had in training.

    Example: twinplate posterior RUN new.csv --out posterior.npz
    """
    from twinplate.commands.posterior_command import run_posterior
    from twinplate.data.columns import Wanted
    from twinplate.words import counted

    also = Wanted.parsed(drop=drop, id_column=id_column, items=items, layer=layer)
    found, used = run_posterior(run, data, out, backend, also)
    tell(Console(), f"Wrote the posterior of {counted(found, 'item')} to {out}, by {used}")
    write_json(json, {"items": found, "by": used, "out": str(out)})


for _command in (
    *(verify, record, compare, convert, bench, demo),
    *(fit, posterior, impute, score, summary, report, choose, doctor),
):
    app.command()(_command)


def _asked_for(given: typer.Context) -> set[str]:
    """The parameters that are on the command line."""
    source = given.get_parameter_source
    return {name for name in given.params if getattr(source(name), "name", "") == "COMMANDLINE"}


def _check_resumed(asked: set[str]) -> None:
    """Raise InputError for an option beside --resume that the run has settled."""
    settled = sorted(asked - RESUMABLE)
    if settled:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in settled)
        raise InputError(
            f"{options} cannot be given with --resume: that is settled by the run; expected --steps, "
            "--backend, --devices or --checkpoint-every"
        )


def _objective(name: str) -> str:
    if name not in ("elbo", "simulated"):
        raise InputError(f"--objective is {name!r}; expected 'elbo' or 'simulated'")
    return name


def _missing(name: str) -> Missing:
    if name == "error":
        return "error"
    if name == "mask":
        return "mask"
    raise InputError(f"--missing is {name!r}; expected 'error' or 'mask'")


def _is_told(error: Exception) -> bool:
    """Whether one sentence is enough: bad input, or training that stopped early."""
    from twinplate.training.errors import TrainingError  # takes long to import

    return isinstance(error, InputError | TrainingError)


def main() -> None:
    """Run the command line; bad input is one sentence on stderr and exit code 2.

    So is training that stops early. A mistake of our own has exit code 2 too, with its traceback: 1 is
    the verdict "differs". Ctrl-C and SIGTERM end every command with exit code 130 or 143; what it writes
    is written whole or not at all.
    """
    with stoppable() as stop:
        try:
            copy_context().run(app, prog_name="twinplate")  # whose --quiet is of this command alone
        except Exception as error:
            if _is_told(error):
                print(f"twinplate: {error}", file=sys.stderr)
            else:
                traceback.print_exc()
            sys.exit(2)
        except (SystemExit, KeyboardInterrupt):  # Typer makes the one of the other
            if not stop.came:
                raise
            print(f"twinplate: interrupted, by {stop.name}", file=sys.stderr)
            sys.exit(stop.exit_code)
