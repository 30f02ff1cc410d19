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
    site: name of a site or parameter in the first program (the second, if only that has it).
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
        return self.stage, self.program, self.site


def ordered(findings: list[Finding], sites: dict[tuple[str, str], int]) -> list[Finding]:
    """One finding for each place, of all draws the gravest; in the order to look at them.

    Differences come first, then what is undecided, then notes; within these the order is that of the
    stages, model before guide, and `sites`, the position of each (program, site). A program that stops
    comes after sites whose structure differs, which is the likely cause.
    """
    once: dict[tuple[str, str, str], Finding] = {}
    for finding in findings:
        kept = once.get(finding.place)
        if kept is None or LEVELS.index(finding.level) < LEVELS.index(kept.level):
            once[finding.place] = finding

    def key(f: Finding) -> tuple[int, int, int, int]:
        position = sites.get((f.program, f.site), len(sites))
        return (LEVELS.index(f.level), ORDER.index(f.stage), PROGRAMS.index(f.program), position)

    return sorted(once.values(), key=key)
