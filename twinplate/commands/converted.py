"""What the command `convert` does, apart from reading the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from twinplate.commands.told import tell
from twinplate.commands.verify_command import EXIT_CODES
from twinplate.conversion.converting import ConversionError, Converted, source_of
from twinplate.conversion.converting import convert as converted_by
from twinplate.conversion.files import read_optimizer, read_trained
from twinplate.conversion.trained_file import Trained
from twinplate.errors import InputError
from twinplate.files import require_place
from twinplate.progress import working
from twinplate.user_file import find, parse, run_file, told_in_user_terms
from twinplate.verification.case import Case
from twinplate.verification.reports.terminal import show
from twinplate.words import counted


def run_convert(
    target: str,
    params: Path,
    out: Path,
    to: str,
    optimizer: Path | None,
    mapping: Path | None,
) -> tuple[int, dict[str, Any]]:
    """Convert, print and write; the exit code, and what was found, for JSON. Raises InputError."""
    console = Console()
    _check_places(out)
    path, name = parse(target)
    cases = find(run_file(path), path, name, "Case", lambda v: isinstance(v, Case))
    if len(cases) > 1:
        raise InputError(f"{path} has several cases; name one of {', '.join(cases)}: {path}:NAME")
    ((name, case),) = cases.items()
    given = _read(params, optimizer, getattr(case, source_of(case, to)).framework)
    try:
        with working(name) as progress, told_in_user_terms(f"{name} of {path} cannot be run"):
            found = converted_by(case, given, to=to, mapping=mapping, progress=progress)
    except ConversionError as error:
        show(error.report, console)
        tell(console, "Nothing is written: with these parameters the programs are not the same")
        return EXIT_CODES[error.report.verdict], {"report": error.report.to_json()}
    written = found.save(out)
    _tell(console, found, bool(given.mean))
    tell(console, f"Wrote {out}, and {written}, which says what is what and can be edited")
    return 0, {
        "report": found.report.to_json(),
        "parameters": sorted(found.trained.params),
        "moments": sorted(found.trained.mean),
        "reset": list(found.reset),
        "losses": {str(draw): list(losses) for draw, losses in found.losses.items()},
        "out": str(out),
        "mapping": str(written),
    }


def _check_places(out: Path) -> None:
    """Raise InputError, before the work, for what cannot be written."""
    if out.suffix != ".safetensors":
        raise InputError(f"--out is {out}; expected FILE.safetensors")
    for path in (out, out.with_suffix(".mapping.json")):
        require_place(path)


def _read(params: Path, optimizer: Path | None, framework: str) -> Trained:
    given = read_trained(params, framework)
    if optimizer is None:
        return given
    moments = read_optimizer(optimizer, framework)
    return Trained(given.params, moments.mean, moments.variance, moments.steps, given.unconstrained)


def _tell(console: Console, found: Converted, has_moments: bool) -> None:
    tell(console, f"Converted {counted(len(found.trained.params), 'parameter')}")
    for draw, (first, second) in found.losses.items():
        apart = abs(first - second) / max(abs(first), abs(second), 1e-300)
        tell(
            console,
            f"Loss of draw {draw}: {first:.12g} in the first program, {second:.12g} in the second, "
            f"{apart:.1g} of it apart",
        )
    for finding in found.report.findings:
        if finding.level == "difference":
            tell(console, f"Of training only: {finding.stage} {finding.site} {finding.message}")
    if has_moments:
        kept = len(found.trained.mean)
        tell(console, f"Adam goes on for {counted(kept, 'parameter')}")
    if found.reset:
        tell(
            console,
            f"Adam starts anew for {', '.join(found.reset)}: the programs train other unconstrained numbers "
            "there, or no moments were given",
        )
