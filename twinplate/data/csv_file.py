"""Numbers in text: CSV, and TSV, which has tabs for commas."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from twinplate.data.columns import MISSING_CELLS, Choose, default_name, name_items, number
from twinplate.data.table import Raw, column_name
from twinplate.errors import InputError
from twinplate.words import counted


def read_csv(path: Path, choose: Choose) -> Raw:
    """The chosen columns of a file in UTF-8. What else is in it needs to be no number."""
    raw: _Text | None = None
    width = blank = 0
    for line, cells in _lines(path):
        if not cells or (len(cells) == 1 and cells[0].isspace()):
            blank = blank or line
            continue
        if raw is None:
            width, blank = len(cells), 0
            header = _is_header(cells)
            raw = _Text(path, cells if header else [""] * width, header, choose)
            if header:
                continue
        if blank or len(cells) != width:
            place, found = (blank, 0) if blank else (line, len(cells))
            raise InputError(
                f"{path}, line {place}: found {counted(found, 'cell')}, expected {width}."
            )
        raw.add(line, cells)
    if raw is None or not raw.lines:
        raise InputError(f"{path} is empty: it has no data rows.")
    return raw.finished()


class _Text:
    """The rows of a file as they come in."""

    def __init__(self, path: Path, header: Sequence[str], named: bool, choose: Choose) -> None:
        names = tuple(name.strip() or default_name(j) for j, name in enumerate(header))
        self.path, self.names, self.named = path, names, named
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
            column = [self._value(n, text, j) for n, text in zip(self.lines, texts, strict=True)]
            x, places = np.column_stack([x, column]), [*places, j]
        return Raw(x, tuple(places), self.names, self.named, self.choice, labels)

    def _value(self, line: int, cell: str, j: int) -> float:
        value = number(cell)
        if value is None:
            raise InputError(
                f"{self.path}, line {line}: {column_name(self.names[j], j)} holds "
                f"{cell.strip()[:40]!r}, which is no number; leave the column out, with --drop or "
                "--id-column, or leave the cell empty if the entry is missing."
            )
        return value


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield every line's number and cells."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = next((line for line in file if line.strip()), "")
            file.seek(0)
            mark = next((m for m in "\t;" if m in first and "," not in first), ",")
            mark = "\t" if path.suffix.lower() == ".tsv" else mark
            reader = csv.reader(file, delimiter=mark, strict=True)
            for cells in reader:
                yield reader.line_num, cells
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: save it again as CSV in UTF-8.") from error
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: not valid CSV ({error}).") from error


def _is_header(cells: Sequence[str]) -> bool:
    if len(cells) > 2 and cells == ["", *map(str, range(len(cells) - 1))]:
        return True  # an index and the names that pandas gives to columns without one
    texts = [cell for cell in cells if cell.strip().lower() not in MISSING_CELLS]
    return bool(texts) and all(number(cell) is None for cell in texts)
