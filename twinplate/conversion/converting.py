"""Convert: the parameters of one program as those of the other, checked by what `verify` records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from twinplate.conversion.files import twin
from twinplate.conversion.links import Link, Parameters, links_of
from twinplate.conversion.mapping_file import read_mapping, write_mapping
from twinplate.conversion.moments import Places, carried
from twinplate.conversion.names import resolved
from twinplate.conversion.trained_file import Trained
from twinplate.errors import InputError
from twinplate.records.record import Array, Given, Run
from twinplate.verification.case import Case, compared
from twinplate.verification.matching.parameters import Rename
from twinplate.verification.matching.translation import Translation, make_translation
from twinplate.verification.recording import Session, StatusCallback
from twinplate.verification.report import Report
from twinplate.verification.wrapping import check_is_program, check_sites

WHICH = ("first", "second")
OF_TRAINING = ("parameter", "gradient")  # stages at which programs of equal densities may part


class ConversionError(ValueError):
    """The densities of two programs differ with these parameters. report: of `verify` on them.

    >>> import pyro, pyro.distributions as dist, torch
    >>> from pyro_impl import Program
    >>> from twinplate import Case, ConversionError, convert
    >>> def model():
    ...     pyro.sample("z", dist.Normal(pyro.param("loc", torch.zeros(2)), 1.0).to_event(1))
    >>> def other():
    ...     pyro.sample("z", dist.Normal(2 * pyro.param("loc", torch.zeros(2)), 1.0).to_event(1))
    >>> try:
    ...     convert(Case(Program(model), Program(other)), {"loc": torch.ones(2)})
    ... except ConversionError as error:
    ...     print(error.report.findings[0].site)
    z
    """

    def __init__(self, report: Report) -> None:
        super().__init__(
            f"nothing is converted: with these parameters the programs differ\n{report}"
        )
        self.report = report


@dataclass(frozen=True, eq=False)
class Converted:
    """What a conversion gives.

    trained: parameters, and where asked for moments, of the program that they were converted to.
    links: which parameters hold the same numbers, and how they lie.
    reset: parameters of that program whose moments could not be carried over.
    report: of `verify` with these parameters. The densities agree; constraints, and so gradients, may differ.
    losses: of the first and the second program, for each draw.
    parameters: those of both programs, as `save` describes them.

    >>> import pyro, pyro.distributions as dist, torch
    >>> from pyro_impl import Program
    >>> from twinplate import Case, convert
    >>> def model():
    ...     pyro.sample("z", dist.Normal(pyro.param("loc", torch.zeros(2)), 1.0).to_event(1))
    >>> converted = convert(Case(Program(model), Program(model)), {"loc": torch.ones(2)})
    >>> converted.links[0].how, converted.save("there.safetensors").name
    ('equal names', 'there.mapping.json')
    """

    trained: Trained
    links: tuple[Link, ...]
    reset: tuple[str, ...]
    report: Report
    losses: dict[str, tuple[float, float]]
    parameters: tuple[Parameters, Parameters]

    def save(self, path: Path | str) -> Path:
        """Write the parameters as a safetensors file, and beside it the mapping, whose path is returned.

        Files that exist are replaced. Raises InputError for what cannot be written.
        """
        path = Path(path)
        mapping = path.with_suffix(".mapping.json")
        self.trained.save(path)
        write_mapping(mapping, self.links, *self.parameters, self.reset)
        return mapping


def convert(
    case: Case,
    params: Any,
    *,
    to: str = "second",
    mapping: Path | str | None = None,
    progress: StatusCallback | None = None,
) -> Converted:
    """The parameters of one program of a case as parameters of the other.

    params: of the program that they come from: a `Trained`, as `pyro_impl.trained(optim)` and
        `numpyro_impl.trained(svi, state)` give, Pyro's parameter store, NumPyro's params, or arrays by name.
    to: "pyro" or "numpyro", or of two programs in one framework "first" or "second".
    mapping: a file that an earlier conversion wrote and the user has edited, in place of `verify`'s matching.
    progress: is told, in words, what is run next.

    Both programs are then recorded with their parameters, and compared as `verify` does, on the first seed
    of the case. Constraints may differ: values are carried over as they are, constrained.

    Raises InputError for parameters that the programs have not, of another shape or outside of their
    constraint, and where a program stops; ConversionError unless all sites and losses agree.

    >>> import numpy as np, pyro, pyro.distributions as dist, torch
    >>> from pyro_impl import Program
    >>> from twinplate import Case, convert
    >>> def model():
    ...     pyro.sample("z", dist.Normal(pyro.param("loc", torch.zeros(2)), 1.0).to_event(1))
    >>> def ported():
    ...     pyro.sample("z", dist.Normal(pyro.param("mean", torch.zeros(2)), 1.0).to_event(1))
    >>> case = Case(Program(model), Program(ported), rename={"loc": "mean"})
    >>> convert(case, {"loc": np.array([0.5, 1.0])}).trained.params["mean"].tolist()
    [0.5, 1.0]
    """
    target = _target(case, to)
    source = source_of(case, to)
    tell = progress or (lambda text: None)
    tell("finding the parameters")
    found = {which: _Found.of(case, which) for which in WHICH}
    given = _given(params, getattr(case, source).framework)
    values = resolved(given, found[source].run.parameters, found[source].session)
    links = _links(case, found, mapping)
    parameters = found["first"].run.parameters, found["second"].run.parameters
    onward = _Onward(links, found, source, target)
    converted = onward.values(values)
    both = {source: values, target: converted}
    one = replace(
        case,
        params=both["first"],
        seeds=case.seeds[:1],
        stress=False,
        rename={**(_renames(links, *parameters) if mapping else {}), **case.rename},
    )
    report = compared(one, progress, both["second"])
    if any(f.level != "note" and f.stage not in OF_TRAINING for f in report.findings):
        raise ConversionError(report)
    moments, reset = onward.moments(given, values) if given.mean else (Trained({}), ())
    trained = replace(moments, params=_typed(converted, given))
    return Converted(trained, links, reset, report, _losses(report), parameters)


@dataclass(frozen=True)
class _Found:
    """A program that has run once: its parameters' names, constraints and shapes."""

    session: Session
    run: Run

    @classmethod
    def of(cls, case: Case, which: str) -> _Found:
        program = getattr(case, which)
        check_is_program(program, f"{which} program")
        session = program.session("float64", case.settings)
        run = session.outline(Given(), case.args, dict(case.kwargs))
        check_sites(program, run)
        if run.failure is not None:
            failure = run.failure
            raise InputError(
                f"the {which} program stops in its {failure.stage}:\n{failure.traceback}\n{failure.error}"
            )
        if not any(p.constraint != "unconstrained" for p in run.parameters.values()):
            raise InputError(f"the {which} program has no parameters: there is nothing to convert")
        return cls(session, run)


@dataclass(frozen=True)
class _Onward:
    """The way from the parameters of one program to those of the other."""

    links: tuple[Link, ...]
    found: Mapping[str, _Found]
    source: str
    target: str

    def values(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """Constrained values of the target."""
        first, second = (self.found[which].run.parameters for which in WHICH)
        converted: dict[str, Array] = {}
        for link in self.links:
            along = link.to_second if self.target == "second" else link.to_first
            try:
                converted |= along(values, first, second)
            except np.linalg.LinAlgError as error:
                raise InputError(f"{link.first[-1]!r} is no Cholesky factor: {error}") from error
        return converted

    def moments(self, given: Trained, values: dict[str, Array]) -> tuple[Trained, tuple[str, ...]]:
        """The moments of the target, and which of its parameters have none."""
        mine, theirs = self.found[self.source].session, self.found[self.target].session
        start = mine.unconstrained(values)
        _check_moments(given, start)
        places = Places(
            start,
            lambda numbers: theirs.unconstrained(self.values(mine.constrained(numbers))),
        )
        names = [(link.first, link.second) for link in self.links]
        pairs = names if self.target == "second" else [(b, a) for a, b in names]
        return carried(given, pairs, places)


def source_of(case: Case, to: str) -> str:
    """Which program the parameters are of that are converted: "first" or "second". Raises InputError."""
    return WHICH[1 - WHICH.index(_target(case, to))]


def _target(case: Case, to: str) -> str:
    """Which program is meant: "first" or "second"."""
    if to in WHICH:
        return to
    fits = [which for which in WHICH if getattr(case, which).framework == to]
    if len(fits) == 1:
        return fits[0]
    frameworks = ", ".join(f"the {which} is of {getattr(case, which).framework}" for which in WHICH)
    raise InputError(
        f"to is {to!r}; expected pyro or numpyro where one program is of each, else first or second; "
        f"{frameworks}"
    )


def _links(case: Case, found: Mapping[str, _Found], mapping: Path | str | None) -> tuple[Link, ...]:
    first, second = (found[which].run.parameters for which in WHICH)
    if mapping is None:
        reference = Translation(found=found["first"].run).translated(found["first"].run)
        translation = make_translation(reference, found["second"].run, case.rename)
        links = links_of(translation, first, second)
    else:
        links = read_mapping(Path(mapping), first, second, case.rename)
    alone, twice = {}, {}
    for which, parameters in (("first", first), ("second", second)):
        linked = [name for link in links for name in getattr(link, which)]
        twice[which] = sorted({name for name in linked if linked.count(name) > 1})
        alone[which] = [name for name in parameters if name not in linked]
    if any(alone.values()) or any(twice.values()):
        raise InputError(_unmatched(alone, twice))
    return links


def _unmatched(alone: Mapping[str, list[str]], twice: Mapping[str, list[str]]) -> str:
    lists = ((alone, "without a partner"), (twice, "with more than one"))
    told = [
        f"the {which} program's parameters {what}: {', '.join(names[which])}"
        for names, what in lists
        for which in WHICH
        if names[which]
    ]
    here, there = (names[0] if names else which for which, names in alone.items())
    rename = f"rename={{{here!r}: {there!r}}}"
    return f"{'; '.join(told)}. Say which is which by the case's {rename}, or in a mapping"


def _renames(links: tuple[Link, ...], first: Parameters, second: Parameters) -> Rename:
    """What a mapping says, as a case says it: `verify` need not find it. first, second: what both have."""
    renames: dict[str, Any] = {}
    for link in links:
        if len(link.first) == len(link.second) == 1:
            (mine,), (theirs,) = link.first, link.second

            def there(values: Array, link: Link = link) -> Array:
                return link.to_second({link.first[0]: values}, first, second)[link.second[0]]

            def back(values: Array, link: Link = link) -> Array:
                return link.to_first({link.second[0]: values}, first, second)[link.first[0]]

            renames[mine] = theirs if link.is_name_alone else (theirs, there, back)
    return renames


def _given(params: Any, framework: str) -> Trained:
    if isinstance(params, Trained):
        return params
    return Trained(twin(framework, "state").flat_params(params))


def _check_moments(given: Trained, start: Mapping[str, Array]) -> None:
    """Raise InputError for moments of other parameters, of another shape, or that no training gives."""
    for name, mean in given.mean.items():
        variance = given.variance[name]
        if name not in start or mean.shape != start[name].shape:
            shape = start[name].shape if name in start else "no such parameter"
            raise InputError(
                f"the optimiser's moments of {name!r} have shape {mean.shape}; expected {shape}: the "
                f"program has {', '.join(start)}"
            )
        if not (np.isfinite(mean) & np.isfinite(variance) & (variance >= 0)).all():
            raise InputError(
                f"the optimiser's moments of {name!r} are not finite, or a variance is negative; "
                "leave them out"
            )


def _typed(values: dict[str, Array], given: Trained) -> dict[str, Array]:
    """Values in the precision of what was given, of unconstrained numbers in double: they are computed."""
    single = all(x.dtype == np.float32 for x in given.params.values()) and not given.unconstrained
    return {n: x.astype(np.float32 if single else np.float64) for n, x in values.items()}


def _losses(report: Report) -> dict[str, tuple[float, float]]:
    draws = {draw for draw, _ in report.first.runs}
    both = (report.first, report.second)
    return {
        draw: (float(np.mean(a)), float(np.mean(b)))
        for draw in sorted(draws)
        for a, b in [[record.runs[draw, "float64"].loss for record in both]]
        if a is not None and b is not None
    }
