"""What every report shows, before it is drawn: the headline, a table by site, what was tested."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from twinplate.records.record import Parameter, Run, Site
from twinplate.verification.comparison.findings import Finding
from twinplate.verification.comparison.outcome import Outcome, compared_draws
from twinplate.verification.comparison.structure import format_shapes

MARKS = {
    "same": "✓",
    "note": "✓ note",
    "unknown": "not compared",
    "undecided": "? undecided",
    "difference": "✗ differs",
    "execution": "✗ fails here",
}
HEADLINES = {
    "same": "SAME at the tested inputs, parameters and draws",
    "differs": "DIFFERS",
    "undecided": "UNDECIDED",
    "could not run": "COULD NOT RUN",
}


@dataclass(frozen=True)
class Cell:
    """What one program shows at a place: a shape ("5 | 3"; a number for the loss), and what else."""

    shape: str
    detail: str = ""


@dataclass(frozen=True)
class ReportRow:
    """One line of the table: a site or a parameter, what each program shows, and how they compare.

    own: the name it has in the second program, if that is another.
    """

    program: str
    name: str
    own: str
    kind: str
    first: Cell
    second: Cell
    level: str


def headline(outcome: Outcome) -> str:
    """The verdict and the first finding behind it, in one line."""
    text = HEADLINES[outcome.verdict]
    if outcome.findings and not outcome.ok:
        text += f": {sentence(outcome.findings[0])}".split("\n")[0]  # frameworks write at length
    return text


def sentence(finding: Finding) -> str:
    """A finding as a sentence that starts with its place."""
    return f"{place(finding)}: {finding.message}"


def place(finding: Finding) -> str:
    """Where a finding is, in words: "log density of model site x"."""
    stage, name = finding.stage, finding.site
    if finding.program == "loss":
        words = {
            "gradient": "gradient of the loss in ",
            "parameter": "parameter ",
            "loss": "loss, by site ",
        }
        return f"{words[stage]}{name}" if name and stage in words else f"{stage} {name}".strip()
    where = f"{finding.program} site {name}" if name else finding.program
    what = {"density": "log density of ", "value": "value of "}.get(stage, "")
    return f"{what}{where}" if what else f"{stage}, {where}"


def rows(outcome: Outcome) -> Iterator[ReportRow]:
    """Sites of the model, of the guide, and parameters, in execution order."""
    runs = first_run(outcome, "first"), first_run(outcome, "second")
    for program in ("model", "guide"):
        mine, theirs = (getattr(run, program) for run in runs)
        for name in {**mine, **theirs}:
            a, b = mine.get(name), theirs.get(name)
            yield _row(outcome, program, name, (a or b).kind, _site(a), _site(b))
    mine, theirs = (run.parameters for run in runs)
    for name in {**mine, **theirs}:
        cells = [_parameter(p.get(name)) for p in (mine, theirs)]
        yield _row(outcome, "loss", name, "parameter", *cells)
    kind = objective(outcome)
    yield _row(outcome, "loss", "", kind, *(_loss(run) for run in runs))


def objective(outcome: Outcome) -> str:
    """What the programs' loss is: the ELBO's name, or the potential energy where neither has a guide."""
    has_guide = outcome.first.has_guide or outcome.second.has_guide
    return outcome.first.settings.loss if has_guide else "potential energy"


def _row(
    outcome: Outcome, program: str, name: str, kind: str, first: Cell, second: Cell
) -> ReportRow:
    own = outcome.second.names.get(name, "")
    return ReportRow(program, name, own, kind, first, second, level(outcome, program, name))


def first_run(outcome: Outcome, which: str) -> Run:
    """The first draw's double-precision run of the "first" or "second" program."""
    record = getattr(outcome, which)
    run: Run = record.runs[next(iter(record.settings.draws)), "float64"]
    return run


ABSENT = Cell("–")
STOPPED = ("execution", "difference")


def _site(site: Site | None) -> Cell:
    if site is None:
        return ABSENT
    return Cell(format_shapes(site), ", ".join(f"{p.name}({p.dim})" for p in site.plates))


def _parameter(parameter: Parameter | None) -> Cell:
    if parameter is None:
        return ABSENT
    return Cell(" ".join(map(str, parameter.value.shape)) or "()", parameter.constraint)


def _loss(run: Run) -> Cell:
    return ABSENT if run.loss is None else Cell(" ".join(f"{v:.9g}" for v in run.loss.flat))


def level(outcome: Outcome, program: str, name: str) -> str:
    """The gravest level among the findings at a place; "execution" where a program stops.

    Without any finding "same", or "unknown" where the program stopped before its numbers were known.
    """
    here = [f for f in outcome.findings if f.row == (program, name)]
    found = {"execution" if (f.stage, f.level) == STOPPED else f.level for f in here}
    stopped = any(first_run(outcome, which).failure for which in ("first", "second"))
    grave = ("execution", "difference", "undecided", "note")
    return next((x for x in grave if x in found), "unknown" if stopped else "same")


# -- what was tested -----------------------------------------------------------------------------------

WITHOUT_FRAMEWORK = (
    "numpy",
    "python",
    "twinplate",
)  # said once, the frameworks beside each program


def tested(outcome: Outcome) -> list[str]:
    """What the verdict rests on: draws and loss, then the versions of both programs."""
    settings, draws = outcome.first.settings, compared_draws(outcome.first, outcome.second)
    particles = f", {settings.particles} particles" if settings.particles > 1 else ""
    order = f" of order {settings.alpha:g}" if objective(outcome) == "RenyiELBO" else ""
    lines = [f"Tested: draws {', '.join(draws)}; {objective(outcome)}{order}{particles}"]
    same = dict(outcome.first.versions.items() & outcome.second.versions.items())
    both = {name: same[name] for name in WITHOUT_FRAMEWORK if name in same}
    lines += [
        f"{which:7} {versions(getattr(outcome, which).versions, both)}"
        for which in ("first", "second")
    ]
    if both:
        lines.append(f"both    {versions(both, {})}")
    return lines


def versions(found: dict[str, str], known: dict[str, str]) -> str:
    """Versions but those already known, and the device once: "torch 2.13.0, pyro 1.9.2 on cpu"."""
    listed = [f"{n} {v}" for n, v in found.items() if n != "device" and known.get(n) != v]
    device = " ".join(dict.fromkeys(found.get("device", "").split()))  # JAX says "cpu cpu"
    return ", ".join(listed) + (f" on {device}" if device else "")
