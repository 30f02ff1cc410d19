"""The command `summary`: what a run directory holds."""

from __future__ import annotations

from rich.console import Console

from twinplate.commands.answer import write_json
from twinplate.commands.options import JsonOut, Quiet, Run


def summary(run: Run, json: JsonOut = None, quiet: Quiet = False) -> None:
    """Print what was fitted in RUN, how training went, and what the components are.

    A feature is named for a component with its correlation with it. Components that were learned are known up
    to a rotation.

    Example: twinplate summary RUN --json summary.json
    """
    from twinplate.commands.run_data import read_run
    from twinplate.commands.told import tell
    from twinplate.programs.likelihood import COUNTS
    from twinplate.training.loading import fit_of

    console = Console()
    saved = read_run(run, console)
    saved.check_told()
    found = fit_of(saved).summary()
    column, kind = saved.data.get("offset", ""), saved.program.config.offset
    words = {"total": "each item's counts in all", "none": "the same for all items"}
    offsets = f"column {column}" if column else words.get(kind, kind)
    counts = saved.program.config.likelihood in COUNTS
    write_json(json, found.as_dict() | ({"offsets": offsets} if counts else {}))
    items = f"{saved.data['num_items']:,}"
    backend = saved.config.get("backend", "an unknown backend")
    line = f"offsets: {offsets}\n" if counts else ""
    tell(console, f"fitted by: {backend}, to {items} items\n{line}{found}")
