"""What a comparison finds: differences and notes, each with its place, in the order to look at them."""

from __future__ import annotations

from dataclasses import dataclass

STAGES = (
    "execution",
    "sites",
    "plates",
    "support",
    "shape",
    "parameter",
    "value",
    "density",
    "loss",
    "gradient",
)
ORDER = ("sites", "plates", "support", "shape", "execution", *STAGES[5:])
PROGRAMS = ("model", "guide", "loss")
LEVELS = ("difference", "undecided", "note")


@dataclass(frozen=True)
class Finding:
    """One place where the programs part, or a remark.

    level: "difference", "undecided" (too ill-conditioned to judge) or "note".
    stage: one of `STAGES`.  program: "model", "guide" or "loss".
    site: name of a site or parameter in the first program (the second, if only that has it); of the
        loss, the site that it differs by.
    message: what differs there, and how to mend it where that is known.
    first, second: what each program has there, in words or numbers.
    draw: name of the draw that showed it: a seed, or "stress".

    >>> from twinplate import Finding
    >>> finding = Finding("difference", "density", "model", "x", "differs", "-1.25", "-1.5", draw="0")
    >>> finding.place
    ('density', 'model', 'x')
    """

    level: str
    stage: str
    program: str
    site: str
    message: str
    first: str = ""
    second: str = ""
    draw: str = ""

    @property
    def place(self) -> tuple[str, str, str]:
        """Where it is, whichever draw showed it."""
        return (self.stage, *self.row)

    @property
    def row(self) -> tuple[str, str]:
        """The program and the name in whose row of a report it is shown; the loss has no name."""
        return self.program, "" if self.stage == "loss" else self.site

    @property
    def is_nan(self) -> bool:
        """Whether numbers cannot be compared, because they are NaN in both programs."""
        return self.stage == "execution" and self.first == self.second == "nan"

    @property
    def compared(self) -> str:
        """The stage; of what is NaN in both programs, the stage in which it would have been compared."""
        if not self.is_nan:
            return self.stage
        if self.program == "loss":
            return "gradient" if self.site else "loss"
        return "density"


def ordered(findings: list[Finding], sites: dict[tuple[str, str], int]) -> list[Finding]:
    """One finding for each place, of all draws the gravest; in the order to look at them.

    Differences come first, then what is undecided, then notes; within these the order is that of the
    stages, model before guide, and `sites`, the position of each (program, site). A program that stops
    comes after sites whose structure differs, which is the likely cause, and after what differs in earlier
    draws; numbers that are NaN in both programs stand where other numbers of theirs would, after those.
    """
    once: dict[tuple[str, str, str], Finding] = {}
    for finding in findings:
        kept = once.get(finding.place)
        if kept is None or LEVELS.index(finding.level) < LEVELS.index(kept.level):
            once[finding.place] = finding
    draws = list(dict.fromkeys(finding.draw for finding in findings))
    stops = [draws.index(f.draw) for f in once.values() if f.stage == "execution" and not f.is_nan]
    stop = min(stops, default=len(draws))

    def key(f: Finding) -> tuple[int, bool, int, int, int, bool]:
        position = sites.get((f.program, f.site), len(sites))
        stage, is_late = ORDER.index(f.compared), draws.index(f.draw) >= stop
        place = (stage, PROGRAMS.index(f.program), position)
        return (LEVELS.index(f.level), is_late, *place, f.stage == "execution")

    return sorted(once.values(), key=key)
