"""How many deliberate mistakes the verifier sees.

Run as `python -m equivalence_tests.mutation.mistake_report [PAIR …]`.
For each pair, or those named: mistakes written by hand, how many of them are seen, and how many with the
right place first; mechanical mistakes, how many of them are seen, and how many survive as listed in
`survivors`. All pairs take about a quarter of an hour.
"""

from __future__ import annotations

import argparse
from dataclasses import astuple, dataclass

from rich.console import Console
from rich.progress import track
from rich.table import Table

from equivalence_tests.mutation.mutations import mutations
from equivalence_tests.mutation.port_mistakes import MISTAKES
from equivalence_tests.mutation.survivors import SURVIVORS
from equivalence_tests.pairs import all_pairs


@dataclass
class Figures:
    """Counts of one pair, or of all."""

    by_hand: int = 0
    seen: int = 0
    placed: int = 0
    mechanical: int = 0
    mechanical_seen: int = 0
    listed: int = 0

    def __add__(self, other: Figures) -> Figures:
        return Figures(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


def figures(pair: str, console: Console) -> Figures:
    """Judge every mistake of a pair."""
    found = Figures()
    by_hand = {name: m for name, m in MISTAKES.items() if m.pair == pair}
    for name in track(by_hand, f"{pair}, by hand", console=console, transient=True):
        report = by_hand[name].report()
        seen, placed = by_hand[name].is_caught(report), by_hand[name].is_located(report)
        found += Figures(1, seen, placed)
        if not (seen and placed):
            console.print(f"{name}: {report.verdict}, {report.findings[:1]}")
    for mutation in track(mutations(pair), f"{pair}, mechanical", console=console, transient=True):
        seen = mutation.is_seen()
        listed = str(mutation) in SURVIVORS
        found += Figures(mechanical=1, mechanical_seen=seen, listed=listed)
        if seen == listed:
            console.print(f"{mutation}: {'seen, but listed' if seen else 'not seen'}")
    return found


def main() -> None:
    """Print a table of all pairs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", nargs="*", metavar="PAIR", help="file of a pair, without .py")
    chosen = parser.parse_args().pairs or all_pairs()
    console, total = Console(stderr=True), Figures()
    table = Table("pair", "by hand", "seen", "place first", "mechanical", "seen", "survive, listed")
    for pair in chosen:
        counted = figures(pair, console)
        total += counted
        table.add_row(pair, *map(str, astuple(counted)))
    table.add_section()
    table.add_row("all", *map(str, astuple(total)))
    Console().print(table)


if __name__ == "__main__":
    main()
