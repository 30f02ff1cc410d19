"""The commands `verify`, `record`, `compare` and `bench`, as they are asked for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from twinplate.commands.answer import json_place, write_json
from twinplate.commands.options import HtmlOut, JsonOut, Quiet

Seeds = Annotated[str, typer.Option(help="Of the draws, such as 0,1,2.")]
Loss = Annotated[
    str,
    typer.Option(
        help="Trace_ELBO, TraceMeanField_ELBO, TraceEnum_ELBO, TraceGraph_ELBO or RenyiELBO."
    ),
]


def verify(
    target: Annotated[
        str,
        typer.Argument(
            metavar="FILE.py[:NAME]",
            help="A file with one or more twinplate.Case; all without NAME.",
        ),
    ],
    seeds: Seeds = "",
    loss: Loss = "",
    json: JsonOut = None,
    quiet: Quiet = False,
    html: HtmlOut = None,
) -> None:
    """Are the two programs the same? Exit code 0 same, 1 differs, 2 could not run, 3 undecided.

    Example: twinplate verify port.py --json report.json --html report.html
    """
    from twinplate.commands.verify_command import Outputs, run_verify

    raise typer.Exit(run_verify(target, seeds, loss, Outputs(json, html), _wide()))


def record(
    target: Annotated[
        str,
        typer.Argument(
            metavar="FILE.py:PROGRAM",
            help="A Program in a file that also has its ARGS (and KWARGS, PARAMS, ...), or a Case.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="New file for the record.")],
    like: Annotated[
        Path | None, typer.Option(help="The record it will be compared with: the same draws.")
    ] = None,
    seeds: Seeds = "",
    loss: Loss = "",
    json: JsonOut = None,
    quiet: Quiet = False,
) -> None:
    """Record one program, to be compared where the other framework is installed.

    Example: twinplate record port.py:SECOND --like first --out second
    """
    from twinplate.commands.told import tell
    from twinplate.commands.verify_command import run_record
    from twinplate.words import counted

    made = run_record(target, out, like, seeds, loss)
    runs = counted(len(made.runs), "run")
    tell(Console(), f"Recorded {runs} of a {made.framework} program in {out}")
    found = {"framework": made.framework, "runs": len(made.runs), "out": str(out)}
    write_json(json, found)


def compare(
    first: Annotated[Path, typer.Argument(help="A record.")],
    second: Annotated[Path, typer.Argument(help="A record made with --like FIRST.")],
    json: JsonOut = None,
    quiet: Quiet = False,
    html: HtmlOut = None,
) -> None:
    """Compare two records. No framework is needed. Exit codes as for `verify`.

    Example: twinplate compare first second --html report.html
    """
    from twinplate.commands.verify_command import Outputs, run_compare

    raise typer.Exit(run_compare(first, second, Outputs(json, html), _wide()))


def bench(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE.py[:NAME]]",
            help="A file with a twinplate.Case: time its two programs instead of ours.",
        ),
    ] = None,
    sizes: Annotated[
        str | None,
        typer.Option(help="Of S, M, L, XL; by default S,M,L, and XL on an accelerator."),
    ] = None,
    json: Annotated[
        Path | None,
        typer.Option(
            "--json",
            callback=json_place,
            help="Write the rows as JSON, and beside it a picture, of S to XL or your cases; - for stdout, "
            "and all words go to stderr then.",
        ),
    ] = None,
    items: Annotated[int | None, typer.Option(help="N of your own data.")] = None,
    features: Annotated[int | None, typer.Option(help="D of your own data.")] = None,
    components: Annotated[int | None, typer.Option(help="K of your own model.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Your own B.")] = None,
    guide: Annotated[
        str | None, typer.Option(help="Your own: diagonal, event or auxiliary.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="That you will train for; 3,000.")] = None,
    html: HtmlOut = None,
    quiet: Quiet = False,
) -> None:
    """Time every way to train on this machine, and say which to pick for your sizes.

    Example: twinplate bench --items 50000 --features 40 --components 8 --html bench.html
    """
    from twinplate.commands.bench_command import run_bench  # its statistics take long to import
    from twinplate.commands.bench_request import BenchRequest

    request = BenchRequest(
        target, sizes, json, items, features, components, batch_size, guide, steps, html
    )
    run_bench(request, _wide())


def _wide() -> Console:
    """The terminal; a file or a pipe, which has no width, gets 120 columns."""
    return Console(width=None if sys.stdout.isatty() else 120)
