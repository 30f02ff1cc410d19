"""The command `score`: how well a fitted model predicts every item, and how close its guide is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twinplate.commands.answer import write_json
from twinplate.commands.options import Data, Drop, IdColumn, Items, JsonOut, Layer, Quiet, Run


def score(
    run: Run,
    data: Data,
    out: Annotated[
        Path | None,
        typer.Option(
            help="New file with a row per item, in the format of its suffix: log_evidence, elbo, observed; "
            "of counts evidence_bound, evidence_bound_error, effective_draws, observed."
        ),
    ] = None,
    json: JsonOut = None,
    quiet: Quiet = False,
    drop: Drop = "",
    id_column: IdColumn = "",
    items: Items = "",
    layer: Layer = "",
) -> None:
    """Print the exact log evidence of DATA, seen or new, the guide's ELBO, and the items that fit worst.

    The log evidence, in nats, is of the entries that are observed; the higher, the better the model. Where it
    is above the ELBO, the guide misses that much. Of counts it is a bound by importance weights, with its
    error.

    Example: twinplate score RUN new.csv --out scores.csv
    """
    from twinplate.commands.scoring import run_score
    from twinplate.data.columns import Wanted

    also = Wanted.parsed(drop=drop, id_column=id_column, items=items, layer=layer)
    write_json(json, run_score(run, data, out, also))
