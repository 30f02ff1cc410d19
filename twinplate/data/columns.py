"""Which columns of a data file are features, and which hold the names of the items.

A column without a name counts as called "column 1", "column 2", ..., by its place in the file.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from twinplate.errors import InputError
from twinplate.words import counted

MISSING_CELLS = ("", "nan", "na", "n/a", "#n/a", "<na>", "null", "none")  # in any case
# A column that pandas or R wrote for the row labels; a name with the word ID in it.
INDEX = re.compile(r"Unnamed: 0(\.\d+)*|__index_level_\d+__|level_\d+")
ID = re.compile(
    r"(?i:(.*[\s_.-])?(id|uuid|guid)|(id|uuid|guid)[\s_.-].*|index|idx|row[\s_.-]?(number|nr|no)?)"
    r"|.*[a-z](Id|ID)"
)
SHOWN = 20  # names of columns in a message


@dataclass(frozen=True)
class Choice:
    """What to do with the columns of a file, by their places from 0.

    features: in the order of the matrix.  labels: columns of names of items, the best ones last.
    perhaps: of the features, those that are labels if what they hold names items (`name_items`).
    counting: whether the same goes for a first column that counts the items, of a file without names.
    with_items: whether the names of the items are wanted.
    """

    features: tuple[int, ...]
    labels: tuple[int, ...] = ()
    perhaps: tuple[int, ...] = ()
    counting: bool = False
    with_items: bool = True


# Given the file, the names of its columns and whether these are its own. Raises InputError.
Choose = Callable[[Path, Sequence[str], bool], Choice]


@dataclass(frozen=True)
class Wanted:
    """The columns to fit a model to: all but those that name the items, unless they are said.

    columns: the features, in this order.  drop: to leave out.  id_column: of the items' names.
    counting: whether a first column without a name that counts the items is left out.
    items: the items, by their names and in this order; by default all.  layer: of a file that has several
    matrices.
    """

    columns: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    id_column: str = ""
    counting: bool = True
    items: tuple[str, ...] = ()
    layer: str = ""

    @classmethod
    def parsed(
        cls,
        columns: str = "",
        drop: str = "",
        id_column: str = "",
        items: str = "",
        layer: str = "",
    ) -> Wanted:
        """That of options, with commas between names. Raises InputError for a list without any name."""
        named = map(split_names, (columns, drop, items))
        wanted, left_out, chosen = named
        return cls(wanted, left_out, id_column, items=chosen, layer=layer)

    def choose(self, path: Path, names: Sequence[str], named: bool) -> Choice:
        """The choice for a file with these columns. Raises InputError for names that it has not."""
        label = [self.id_column] if self.id_column else []
        both = {*self.columns} & {*self.drop, *label} | {*self.drop} & {*label}
        if both:
            raise InputError(f"column {min(both)!r} is asked for in two ways; expected one")
        labels = _places(path, names, label)
        dropped = _places(path, names, self.drop)
        if self.columns:
            return Choice(_places(path, names, self.columns), labels)
        features = tuple(j for j in range(len(names)) if j not in labels + dropped)
        perhaps = tuple(j for j in features if named and _looks_like_labels(names[j], j))
        return Choice(features, labels, perhaps, self.counting and not named)


ALL = Wanted()


@dataclass(frozen=True)
class Fitted:
    """The columns that a model was fitted to, to be found again in other data.

    columns: the features.  named: whether the names are those of a file.
    left_out, id_columns: the other columns of that file.  also: what is wanted beside that.
    """

    columns: tuple[str, ...]
    named: bool
    left_out: tuple[str, ...] = ()
    id_columns: tuple[str, ...] = ()
    also: Wanted = ALL

    @property
    def layer(self) -> str:
        """Of a file that has several matrices."""
        return self.also.layer

    @classmethod
    def of(cls, data: Mapping[str, Any], also: Wanted = ALL) -> Fitted:
        """Those of a saved run; one of before says neither whether they have names nor what was left out."""
        columns = tuple(data["columns"])
        unnamed = columns == tuple(map(default_name, range(len(columns))))
        left_out, ids = (tuple(data.get(which, ())) for which in ("left_out", "id_columns"))
        if data.get("offset", "") not in ("", *left_out):  # which stood beside the matrix
            left_out = (*left_out, data["offset"])
        also = also if also.layer else replace(also, layer=data.get("layer", ""))
        return cls(columns, bool(data.get("named", not unnamed)), left_out, ids, also)

    def choose(self, path: Path, names: Sequence[str], named: bool) -> Choice:
        """By name, or by place where the file or the model has no names. Raises InputError."""
        needed = [name for name in (*self.also.drop, self.also.id_column) if name in self.columns]
        if needed:
            raise InputError(f"column {needed[0]!r} is a feature of the run; it cannot be left out")
        if tuple(names) == self.columns:
            return Choice(tuple(range(len(names))))
        if not (named and self.named):
            return self._by_place(path, names, named)
        missing = [name for name in self.columns if name not in names]
        other = Wanted((), self.also.drop, self.also.id_column).choose(path, names, named)
        rest = [j for j in other.features if names[j] not in (*self.columns, *self.left_out)]
        labels = [j for j in rest if names[j] in self.id_columns or j in other.perhaps]
        unknown = [names[j] for j in rest if j not in labels]
        if missing or unknown:
            raise InputError(_differ(path, missing, unknown))
        return Choice(_places(path, names, self.columns), (*labels, *other.labels))

    def _by_place(self, path: Path, names: Sequence[str], named: bool) -> Choice:
        if len(names) == len(self.columns):
            return Choice(tuple(range(len(names))))
        known = () if named else (*self.left_out, *self.id_columns)  # "column 1", ...
        drop = tuple(name for name in (*self.also.drop, *known) if name in names)
        return Wanted((), drop, self.also.id_column).choose(path, names, named)


def _differ(path: Path, missing: Sequence[str], unknown: Sequence[str]) -> str:
    found = [
        f"{what}: {listed(names)}"
        for what, names in (("missing", missing), ("unknown", unknown))
        if names
    ]
    advice = ["rename them in the file"] if missing else []
    if unknown:
        advice.append("leave columns out of the file, or with --drop where the command has it")
    return f"{path} has not the columns of the run; {'; '.join(found)}: {', or '.join(advice)}"


def _places(path: Path, names: Sequence[str], wanted: Iterable[str]) -> tuple[int, ...]:
    """Where the wanted columns are. Raises InputError unless each is there, and once."""
    wanted = tuple(wanted)
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise InputError(f"{path} has no column {listed(unknown)}; it has {listed(names)}")
    twice = [name for name in wanted if wanted.count(name) > 1 or list(names).count(name) > 1]
    if twice:
        where = "asked for" if wanted.count(twice[0]) > 1 else f"there in {path}"
        raise InputError(f"column {twice[0]!r} is {where} twice; expected once")
    return tuple(list(names).index(name) for name in wanted)


def _looks_like_labels(name: str, place: int) -> bool:
    unnamed = place == 0 and name == default_name(0)
    return bool(unnamed or INDEX.fullmatch(name) or ID.fullmatch(name))


def name_items(name: str, texts: Sequence[str]) -> bool:
    """Whether the cells of a column of this name name the items: no two alike, whole numbers or text."""
    if name == default_name(0) and len(texts) < 2:
        return False
    numbers = map(number, texts)
    return all(v is None or v.is_integer() for v in numbers) and len({*texts}) == len(texts)


def number(cell: str) -> float | None:
    """The cell's value, NaN for a missing entry, None for any other text."""
    try:
        # float() takes 1_000 for a thousand; nobody who reads a table does
        return None if "_" in cell else float(cell)
    except ValueError:
        return math.nan if cell.strip().lower() in MISSING_CELLS else None


def default_name(place: int) -> str:
    """What a column without a name is called."""
    return f"column {place + 1}"


def split_names(text: str) -> tuple[str, ...]:
    """The names in a list with commas between them; one with a comma in it stands in double quotes.

    Raises InputError for a text that is not empty and has no name in it.
    """
    cells = next(csv.reader([text], skipinitialspace=True), [])
    names = tuple(cell.strip() for cell in cells if cell.strip())
    if text and not names:
        raise InputError(f"{text!r} names nothing; expected names with commas between them")
    return names


def joined(names: Iterable[str]) -> str:
    """The names as `split_names` reads them.

    >>> joined(["a", "b,c"])
    'a,"b,c"'
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(names)
    return text.getvalue()


def rows_of(path: Path, wanted: Sequence[str], items: Sequence[str]) -> list[int]:
    """Where the wanted items are among those of a file. Raises InputError unless each is there, and once."""
    if not items:
        raise InputError(
            f"{path} does not name its items; expected a column of names, by --id-column"
        )
    places = {name: n for n, name in enumerate(items)}
    unknown = [name for name in wanted if name not in places]
    if unknown:
        raise InputError(f"{path} has no item {listed(unknown)}; it has {listed(items)}")
    counts = Counter(items)
    twice = [name for name in wanted if counts[name] > 1] or [
        name for name, count in Counter(wanted).items() if count > 1
    ]
    if twice:
        where = f"there in {path}" if counts[twice[0]] > 1 else "asked for"
        raise InputError(f"item {twice[0]!r} is {where} twice; expected once")
    return [places[name] for name in wanted]


def listed(names: Sequence[str], most: int = SHOWN) -> str:
    """The names with commas between them, at most `most` of them."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {counted(more, 'more', 'more')}" if more > 0 else "")
