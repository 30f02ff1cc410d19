"""The command `report`: one page on runs, for people who look rather than read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twinplate.commands.answer import write_json
from twinplate.commands.options import JsonOut, Quiet


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Run directories, written by either framework.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="The page, one HTML file; an earlier one is replaced."),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            help="What the runs were trained on, or new items: for gaps, intervals and predictions."
        ),
    ] = None,
    json: JsonOut = None,
    quiet: Quiet = False,
) -> None:
    """Write one page on RUNs: losses, gaps to the exact answer, correlations, calibration, agreement.

    It is one file that needs no network, is light or dark as the reader's screen, and prints.

    Example: twinplate report RUN RUN2 --data DATA.csv --out report.html
    """
    from twinplate.commands.reported import run_report

    write_json(json, run_report(runs, out, data, json))
