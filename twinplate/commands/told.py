"""What a command says of the data that it uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from twinplate.words import are, counted

if TYPE_CHECKING:
    from twinplate.data.table import Table


def tell(console: Console, text: str) -> None:
    """Print one line as it is: brackets are no markup, and it is not broken at a width."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def tell_data(console: Console, table: Table, names: str, offset: str = "") -> None:
    """How many items and features are used, and which (`names`); which columns are not.

    offset: the column of the items' offsets, if there is one.
    """
    from twinplate.data.columns import listed  # takes long to import

    items, features = table.x.shape
    tell(console, f"Using {counted(items, 'item')} and {counted(features, 'feature')}: {names}")
    if table.id_columns:
        tell(
            console,
            f"Left out, as names of the items: {listed(table.id_columns)}",
        )
    if table.constant:
        tell(console, f"Left out, as they are constant and tell nothing: {listed(table.constant)}")
    if offset:
        tell(console, f"Offsets: {offset}")
    rest = [name for name in table.left_out if name not in (*table.constant, offset)]
    if rest:
        tell(console, f"Left out: {listed(rest)}")
    empty = table.statistics.empty_items
    if empty.count:
        tell(
            console,
            f"{counted(empty.count, 'item')} {are(empty.count)} without any entry, the first in row "
            f"{empty.first[0] + 1}: {'its' if empty.count == 1 else 'their'} posterior is the prior",
        )
