"""The command `convert`: trained parameters of one program of a case as those of the other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twinplate.commands.answer import write_json
from twinplate.commands.options import JsonOut, Quiet


def convert(
    target: Annotated[
        str,
        typer.Argument(
            metavar="FILE.py[:NAME]", help="A file with a twinplate.Case, as for `verify`."
        ),
    ],
    params: Annotated[
        Path,
        typer.Option(
            help="Trained parameters: safetensors or NPZ by name; Pyro's .pt (ParamStore.save, state_dict); "
            "flax's .msgpack."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="FILE.safetensors for the parameters; FILE.mapping.json beside it says which is which."
        ),
    ],
    to: Annotated[
        str, typer.Option(help="pyro or numpyro; first or second where both are of one.")
    ] = "second",
    optimizer: Annotated[
        Path | None,
        typer.Option(help="Where Adam stands, if not in PARAMS: what Pyro's optim.save wrote."),
    ] = None,
    mapping: Annotated[
        Path | None,
        typer.Option(help="A FILE.mapping.json that you edited, in place of what verify matches."),
    ] = None,
    json: JsonOut = None,
    quiet: Quiet = False,
) -> None:
    """Trained parameters of one program of a case, as those of the other.

    Both programs are then compared on them as `verify` does: nothing is written unless they are the same.
    Exit codes as for `verify`. Example:

    twinplate convert port.py --to numpyro --params trained.pt --optimizer optim.pt --out there.safetensors
    """
    from twinplate.commands.converted import run_convert

    code, found = run_convert(target, params, out, to, optimizer, mapping)
    write_json(json, found)
    raise typer.Exit(code)
