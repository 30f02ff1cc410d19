"""Numbers in text: CSV, and TSV, which has tabs for commas."""

from __future__ import annotations

import csv
import re
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from twinplate.data.columns import MISSING_CELLS, Choose, default_name, name_items, number
from twinplate.data.table import Raw, column_name
from twinplate.errors import InputError
from twinplate.words import counted

CERTAIN = 6  # numbers 0, 1, 2, ... in the first line that no item has by chance
YEARS = range(1800, 2201)  # behind a name, three in a row are no item's either


def read_csv(path: Path, choose: Choose) -> Raw:
    """The chosen columns of a file in UTF-8. What else is in it needs to be no number."""
    raw: _Text | None = None
    first: tuple[int, list[str]] | None = None
    blank = 0
    for line, cells in _lines(path):
        if not cells or (len(cells) == 1 and cells[0].isspace()):
            blank = blank or line
            continue
        if first is None:
            first, blank = (line, cells), 0
            continue
        raw = raw or _started(path, *first, cells, choose)
        if blank or len(cells) != len(raw.names):
            place, found = (blank, 0) if blank else (line, len(cells))
            raise InputError(
                f"{path}, line {place}: found {counted(found, 'cell')}, expected {len(raw.names)}, as in "
                f"line {first[0]}."
            )
        raw.add(line, cells)
    if first is not None and raw is None:
        raw = _started(path, *first, [], choose)
    if raw is None or not raw.lines:
        raise InputError(f"{path} is empty: it has no data rows.")
    return raw.finished()


def _started(
    path: Path, line: int, first: list[str], second: Sequence[str], choose: Choose
) -> _Text:
    """What a file is read into: its first line is a header, or the first item."""
    if not _is_header(first, second):
        raw = _Text(path, [""] * len(first), False, choose)
        raw.add(line, first)
        return raw
    one_more = len(second) == len(first) + 1 > 2 and second[-1].strip()
    if one_more and (number(second[0]) in (None, 1.0)):
        # R gives the row names, texts or 1, 2, ..., no name
        return _Text(path, ["", *first], True, choose, names_rows=True)
    return _Text(path, first, True, choose)


class _Text:
    """The rows of a file as they come in. names_rows: the header has no cell for the first column."""

    def __init__(
        self,
        path: Path,
        header: Sequence[str],
        named: bool,
        choose: Choose,
        names_rows: bool = False,
    ) -> None:
        names = tuple(name.strip() or default_name(j) for j, name in enumerate(header))
        self.path, self.names, self.named, self.names_rows = path, names, named, names_rows
        self.choice = choose(path, names, named)
        self.kept = {j: list[str]() for j in (*self.choice.perhaps, *self.choice.labels)}
        self.numeric = [j for j in sorted(self.choice.features) if j not in self.kept]
        self.values = array("d")
        self.lines = array("q")

    def add(self, line: int, cells: Sequence[str]) -> None:
        self.lines.append(line)
        self.values.extend(self._value(line, cells[j], j) for j in self.numeric)
        for j, texts in self.kept.items():
            texts.append(cells[j].strip())

    def finished(self) -> Raw:
        """All rows; columns of labels that name no items are numbers after all."""
        x = np.frombuffer(self.values) if self.values else np.zeros(0)
        x = x.reshape(len(self.lines), len(self.numeric))
        labels, places = {}, list(self.numeric)
        for j, texts in self.kept.items():
            if j in self.choice.labels or name_items(self.names[j], texts):
                labels[j] = texts
                continue
            if self.names_rows and j == 0:  # a comma too many in every row, such as a decimal comma
                raise InputError(
                    f"{self.path}, line {self.lines[0]}: found {counted(len(self.names), 'cell')}, expected "
                    f"{len(self.names) - 1}, as in the header; the first of them name no items, as some are "
                    "alike. Numbers have a decimal point and no comma."
                )
            column = [self._value(n, text, j) for n, text in zip(self.lines, texts, strict=True)]
            x, places = np.column_stack([x, column]), [*places, j]
        return Raw(x, tuple(places), self.names, self.named, self.choice, labels)

    def _value(self, line: int, cell: str, j: int) -> float:
        value = number(cell)
        if value is None:
            raise InputError(
                f"{self.path}, line {line}: {column_name(self.names[j], j)} holds "
                f"{cell.strip()[:40]!r}, which is no number; {self._advice(cell)}."
            )
        return value

    def _advice(self, cell: str) -> str:
        if "," in cell and number(cell.replace(",", "")) is not None:
            return "write numbers with a decimal point, and without commas between thousands"
        out = "leave the column out, with --drop or --id-column"
        advice = f"{out}, or leave the cell empty if the entry is missing"
        if self.named or self.lines[1:]:
            return advice
        return (
            f"{advice}; the first line is taken for an item, as it holds numbers: a header has none"
        )


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield every line's number and cells."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = next((line for line in file if line.strip()), "")
            file.seek(0)
            told = re.fullmatch(
                "sep=(.)", first.rstrip("\r\n")
            )  # a line of Excel's, above the header
            first = re.sub('"[^"]*"', "", first)  # what is in quotes separates nothing
            mark = next((m for m in "\t;" if m in first and _separates(m, first)), ",")
            mark = "\t" if path.suffix.lower() == ".tsv" else mark
            reader = csv.reader(file, delimiter=told[1] if told else mark, strict=True)
            for cells in reader:
                if told and cells:
                    told = None
                    continue
                yield reader.line_num, cells
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: save it again as CSV in UTF-8.") from error
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: not valid CSV ({error}).") from error


def _separates(mark: str, first: str) -> bool:
    """Whether tabs or semicolons are between the cells, and commas, if there are any, in numbers."""
    cells = first.split(mark)
    return "," not in first or all(number(cell.replace(",", ".")) is not None for cell in cells)


def _is_header(first: Sequence[str], second: Sequence[str]) -> bool:
    """Whether the first line names the columns: by texts alone, or by numbers that count them.

    pandas calls columns without a name 0, 1, 2, ...; years in a row are names too, also behind names of other
    columns. A few numbers that count above a line of whole numbers may be an item, and are one here.
    """
    texts = [cell for cell in first if cell.strip().lower() not in MISSING_CELLS]
    if texts and all(number(cell) is None for cell in texts):
        return True
    cells = [cell.strip() for cell in first]
    before = next((j for j, cell in enumerate(cells) if cell.isdecimal()), 0)
    behind_names = any(number(cell) is None for cell in cells[:before])
    behind_index = len(first) > 2 and not cells[0]
    counts = cells[before if behind_names else int(behind_index) :]
    start = int(counts[0]) if counts[0].isdecimal() else -1
    if start < 0 or counts != [str(start + i) for i in range(len(counts))]:
        return False
    below = map(number, second)
    return (
        (behind_index and start == 0)
        or (start <= 1 and len(counts) >= CERTAIN)
        or (behind_names and start in YEARS and len(counts) >= 3)
        or (len(counts) >= 3 and any(value is not None and value % 1 > 0 for value in below))
    )
