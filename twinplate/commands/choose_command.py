"""The command `choose`: how many components, which covariance, which backend."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from twinplate.commands.answer import STDOUT, write_json
from twinplate.commands.options import Data, Drop, IdColumn, Items, JsonOut, Layer, Quiet
from twinplate.errors import InputError
from twinplate.files import replacing

MOST_TRIED = 50  # numbers of components


def choose(
    data: Data,
    components: Annotated[
        str,
        typer.Option(
            help="To choose from, such as 1-8 or 2,4,8; by default 1 to at most 10, as the features allow."
        ),
    ] = "",
    likelihood: Annotated[
        str, typer.Option(help="normal, poisson, negative-binomial or bernoulli.")
    ] = "normal",
    offset: Annotated[
        str, typer.Option(help="Of counts: the column of the items' offsets, as in `fit`.")
    ] = "",
    no_offset: Annotated[
        bool, typer.Option("--no-offset", help="Of counts: the same offset for all items.")
    ] = False,
    picture: Annotated[
        Path | None, typer.Option(help="Draw the choice: FILE.png or FILE.svg.")
    ] = None,
    json: JsonOut = None,
    quiet: Quiet = False,
    drop: Drop = "",
    id_column: IdColumn = "",
    items: Items = "",
    layer: Layer = "",
) -> None:
    """Say how many components DATA have, and which covariance and backend to fit them with.

    Components by the exact log evidence of items held out, of counts by a bound on it: the fewest within one
    standard error of the best;
    the covariance by what short fits reach on such items; the backend by its time on this machine.

    Example: twinplate choose DATA.csv --components 1-8 --picture choice.png
    """
    # They take long to import, and other commands need nothing of them.
    from twinplate.choosing.picture import check_picture, write_picture
    from twinplate.choosing.verdict import as_dict
    from twinplate.commands.choice import run_choose
    from twinplate.commands.offset_column import Offsets
    from twinplate.commands.told import tell
    from twinplate.data.columns import Wanted

    if picture is not None:
        check_picture(picture)
    wanted = parse_components(components)
    console = Console()
    also = Wanted.parsed(drop=drop, id_column=id_column, items=items, layer=layer)
    verdict = run_choose(data, wanted, also, console, Offsets(likelihood, offset, no_offset))
    write_json(json, as_dict(verdict))
    if picture is not None:
        with replacing(picture) as temporary:
            write_picture(temporary, verdict, picture.suffix.lower())
    written = [str(path) for path in (json, picture) if path not in (None, STDOUT)]
    if written:
        tell(console, f"Wrote {' and '.join(written)}")


def parse_components(text: str) -> tuple[int, ...]:
    """The numbers in "1-8" or "2,4,8", in rising order. Raises InputError.

    >>> parse_components("8,2-4")
    (2, 3, 4, 8)
    """
    found: set[int] = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", part)
        if match is None:
            raise InputError(f"--components is {text!r}; expected numbers such as 1-8 or 2,4,8")
        first, last = int(match[1]), int(match[2] or match[1])
        if not 1 <= first <= last:
            raise InputError(
                f"--components has {part!r}; expected numbers from 1 on, in rising order"
            )
        if len(found) + last - first >= MOST_TRIED:
            raise InputError(f"--components has more than {MOST_TRIED} numbers; expected fewer")
        found.update(range(first, last + 1))
    return tuple(sorted(found))
