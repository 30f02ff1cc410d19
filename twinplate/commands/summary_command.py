"""The command `summary`: what a run directory holds."""

from __future__ import annotations

import json as json_format

from rich.console import Console

from twinplate.commands.options import JsonOut, Run
from twinplate.commands.run_data import read_run
from twinplate.commands.told import tell
from twinplate.files import require_place, write_text
from twinplate.training.loading import fit_of


def summary(run: Run, json: JsonOut = None) -> None:
    """Print what was fitted in RUN, how training went, and what the components are.

    A feature is named for a component with its correlation with it. Components that were learned are known up
    to a rotation.

    Example: twinplate summary RUN --json summary.json
    """
    if json is not None:
        require_place(json)
    console = Console()
    saved = read_run(run, console)
    found = fit_of(saved).summary()
    if json is not None:
        write_text(json, json_format.dumps(found.as_dict(), indent=2) + "\n")
    items = f"{saved.data['num_items']:,}"
    backend = saved.config.get("backend", "an unknown backend")
    tell(console, f"fitted by: {backend}, to {items} items\n{found}")
