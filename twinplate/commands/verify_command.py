"""The commands `verify`, `record` and `compare`: programs from a user's file, a report, an exit code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from twinplate.commands.answer import write_json
from twinplate.errors import InputError
from twinplate.files import require_new, require_place, write_text
from twinplate.progress import working
from twinplate.records.record import Record
from twinplate.user_file import find, parse, run_file, told_in_user_terms
from twinplate.verification.case import Case, verify
from twinplate.verification.recording import Recordable, record
from twinplate.verification.report import Report, compare
from twinplate.verification.reports.html_page import page
from twinplate.verification.reports.terminal import show
from twinplate.verification.wrapping import is_program

EXIT_CODES = {"same": 0, "differs": 1, "could not run": 2, "undecided": 3}
WORST_FIRST = ("could not run", "differs", "undecided", "same")
ARGUMENTS = tuple(f.name for f in fields(Case) if f.name not in ("first", "second"))


@dataclass(frozen=True)
class Outputs:
    """Where a report goes besides the terminal. Both files are replaced if they exist."""

    json: Path | None = None
    html: Path | None = None

    def check(self) -> None:
        """Raise InputError, before the work, for what cannot be written."""
        if self.html is not None:
            require_place(self.html)

    def write(self, reports: Mapping[str, Report]) -> None:
        """Write the reports, by the names of their cases. Raises InputError."""
        if self.json is not None:
            write_json(self.json, {name: report.to_json() for name, report in reports.items()})
        if self.html is not None:
            write_text(self.html, page(reports))


def run_verify(target: str, seeds: str, loss: str, outputs: Outputs, console: Console) -> int:
    """Verify the case, or all cases, of `target`; the worst exit code. Raises InputError."""
    outputs.check()
    changes = _changes(seeds, loss)
    path, name = parse(target)
    cases = find(run_file(path), path, name, "Case", lambda v: isinstance(v, Case))
    reports = {}
    for name, case in cases.items():
        with working(name) as progress, told_in_user_terms(f"{name} of {path} cannot be run"):
            reports[name] = verify(replace(case, **changes), progress=progress)
        if len(cases) > 1:
            console.rule(name)
        show(reports[name], console)
    outputs.write(reports)
    return exit_code(reports.values())


def run_record(target: str, out: Path, like: Path | None, seeds: str, loss: str) -> Record:
    """Record the program that `target` names to the new file `out`. Raises InputError."""
    require_new(out)
    changes = _changes(seeds, loss)
    reference = None if like is None else Record.load(like)
    if reference is not None and changes:
        raise InputError(
            "--seeds and --loss are those of the record given by --like; leave them out"
        )
    path, name = parse(target)
    program, case = _program_of(path, name, is_second=reference is not None)
    case = replace(case, **changes)
    with working(name or path.name) as progress, told_in_user_terms(f"{path} cannot be run"):
        made = record(
            program,
            case.args,
            dict(case.kwargs),
            params=None if case.params is None else dict(case.params),
            draws=None if case.draws is None else dict(case.draws),
            settings=case.settings,
            like=reference,
            rename=case.rename,
            progress=progress,
        )
    if made.failure is not None:
        failure = made.failure
        raise InputError(
            f"{path} cannot be recorded: the program stops in its {failure.stage}:\n"
            f"{failure.traceback}\n{failure.error}"
        )
    made.save(out)
    return made


def run_compare(first: Path, second: Path, outputs: Outputs, console: Console) -> int:
    """Compare two records on disk; the exit code. Raises InputError."""
    outputs.check()
    report = compare(Record.load(first), Record.load(second))
    show(report, console)
    outputs.write({f"{first.name}, {second.name}": report})
    return EXIT_CODES[report.verdict]


def exit_code(reports: Iterable[Report]) -> int:
    """The exit code of the worst verdict among the reports."""
    found = {report.verdict for report in reports}
    return EXIT_CODES[next(verdict for verdict in WORST_FIRST if verdict in found)]


def _changes(seeds: str, loss: str) -> dict[str, Any]:
    """The fields of a case that the options `--seeds` and `--loss` replace."""
    changes: dict[str, Any] = {"loss": loss} if loss else {}
    if seeds:
        try:
            changes["seeds"] = tuple(int(seed) for seed in seeds.split(","))
        except ValueError:
            raise InputError(
                f"--seeds is {seeds!r}; expected whole numbers such as 0,1,2"
            ) from None
    return changes


def _program_of(path: Path, name: str, is_second: bool) -> tuple[Recordable, Case]:
    """A program and its arguments: from a Case, or a Program and the file's ARGS, KWARGS, ..."""
    module = run_file(path)
    kind = "Program or Case"
    found = find(module, path, name, kind, lambda v: isinstance(v, Case) or is_program(v))
    if len(found) > 1:
        names = ", ".join(found)
        raise InputError(f"{path} has several programs; name one of {names}: {path}:NAME")
    (value,) = found.values()
    if isinstance(value, Case):
        return (value.second if is_second else value.first), value
    given = {n: getattr(module, n.upper()) for n in ARGUMENTS if hasattr(module, n.upper())}
    return value, Case(value, value, **given)
