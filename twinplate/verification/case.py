"""Verify: two programs, one set of arguments, one verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from twinplate.errors import InputError
from twinplate.records.record import Array, Given, Record, Settings
from twinplate.verification.matching.parameters import Rename, name_in
from twinplate.verification.orientation import is_unexplained, made_symmetric, told
from twinplate.verification.recording import Recordable, StatusCallback, record
from twinplate.verification.report import Report, compare
from twinplate.verification.wrapping import check_is_program


@dataclass(frozen=True)
class Case:
    """Two programs and what they are run on.

    first, second: `pyro_impl.Program` or `numpyro_impl.Program`, one of each or two of the same.
    args, kwargs: of the model and the guide: nested NumPy arrays and plain values.
    params: constrained values by the first program's names; without them, the first values, moved
        a little for each seed.
    draws: values of latent sites by the first program's names, of the shape of one particle's value,
        for every draw; without them all are sampled.
    loss: "Trace_ELBO", "TraceMeanField_ELBO", "TraceEnum_ELBO", "TraceGraph_ELBO" or "RenyiELBO".
    alpha: the order of "RenyiELBO", any number but 1; other losses have none.
    particles: samples of the loss, one after the other or `vectorize_particles`.
    seeds: draws of the latent values; `stress` adds one of extreme values.
    rename: {first: second} for what has another name in the second program (sites, plates,
        parameters, and modules with all of theirs), or {first: (second, to_second, to_first)} where
        the layout of a parameter or of a site's value differs; of one particle, and for a site the
        functions may only move numbers.

    >>> import pyro, pyro.distributions as dist
    >>> from pyro_impl import Program
    >>> from twinplate import Case, verify
    >>> def early():
    ...     pyro.sample("z", dist.Normal(0.0, 2.0))
    >>> def late():
    ...     pyro.sample("latent", dist.Normal(0.0, 2.0))
    >>> verify(Case(Program(early), Program(late), rename={"z": "latent"})).ok
    True
    """

    first: Recordable
    second: Recordable
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] | None = None
    draws: Mapping[str, Any] | None = None
    loss: str = "Trace_ELBO"
    particles: int = 1
    vectorize_particles: bool = False
    seeds: tuple[int, ...] = (0, 1, 2)
    stress: bool = True
    rename: Rename = field(default_factory=dict)
    alpha: float = 0.0

    @property
    def settings(self) -> Settings:
        """How both programs are recorded."""
        return Settings(
            self.loss,
            self.particles,
            self.vectorize_particles,
            tuple(self.seeds),
            self.stress,
            self.alpha,
        )


def verify(
    first: Case | Recordable,
    second: Recordable | None = None,
    *,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    params: Mapping[str, Any] | None = None,
    draws: Mapping[str, Any] | None = None,
    loss: str = "Trace_ELBO",
    particles: int = 1,
    vectorize_particles: bool = False,
    seeds: tuple[int, ...] = (0, 1, 2),
    stress: bool = True,
    rename: Rename | None = None,
    alpha: float = 0.0,
    progress: StatusCallback | None = None,
) -> Report:
    """Record the first program, the second like the first, and compare.

    Takes two programs and the arguments of a `Case`, which has their meaning; or a `Case` alone, which
    brings its own arguments. progress: is told, in words, what is run next.

    Raises InputError for functions that are in no `Program`, or in that of the other framework; an unknown
    loss, `alpha` 1, no seeds, names in `params`, `draws` or `rename` that match nothing and parameters or
    draws of another shape; TypeError for one program alone.

    >>> import pyro, pyro.distributions as dist
    >>> from pyro_impl import Program
    >>> from twinplate import verify
    >>> def model(scale):
    ...     pyro.sample("z", dist.Normal(0.0, scale))
    >>> def port(variance):
    ...     pyro.sample("z", dist.Normal(0.0, variance**0.5))
    >>> report = verify(Program(model), Program(port), args=(2.0,))
    >>> report.verdict, report.findings[0].site
    ('differs', 'z')
    """
    if isinstance(first, Case):
        return _verified(first, progress)
    if second is None:
        raise TypeError("verify takes a Case, or two programs and a Case's arguments")
    case = Case(
        first,
        second,
        args=args,
        kwargs=kwargs or {},
        params=params,
        draws=draws,
        loss=loss,
        particles=particles,
        vectorize_particles=vectorize_particles,
        seeds=seeds,
        stress=stress,
        rename=rename or {},
        alpha=alpha,
    )
    return _verified(case, progress)


def assert_same(
    first: Case | Recordable,
    second: Recordable | None = None,
    *,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    params: Mapping[str, Any] | None = None,
    draws: Mapping[str, Any] | None = None,
    loss: str = "Trace_ELBO",
    particles: int = 1,
    vectorize_particles: bool = False,
    seeds: tuple[int, ...] = (0, 1, 2),
    stress: bool = True,
    rename: Rename | None = None,
    alpha: float = 0.0,
    progress: StatusCallback | None = None,
) -> Report:
    """Verify, and return the report only if its verdict is "same".

    Arguments and errors are those of `verify`; raises AssertionError, with the report as its text, for
    any other verdict.

    >>> import pyro, pyro.distributions as dist
    >>> from pyro_impl import Program
    >>> from twinplate import assert_same
    >>> def model(scale):
    ...     pyro.sample("z", dist.Normal(0.0, 2 * scale))
    >>> def rewritten(scale):
    ...     pyro.sample("z", dist.Normal(0.0, scale + scale))
    >>> assert_same(Program(model), Program(rewritten), args=(0.5,))
    <Report: same, 0 findings>
    """
    report = verify(
        first,
        second,
        args=args,
        kwargs=kwargs,
        params=params,
        draws=draws,
        loss=loss,
        particles=particles,
        vectorize_particles=vectorize_particles,
        seeds=seeds,
        stress=stress,
        rename=rename,
        alpha=alpha,
        progress=progress,
    )
    if not report.ok:
        raise AssertionError(f"\n{report}")
    return report


def _verified(case: Case, progress: StatusCallback | None) -> Report:
    """Record both programs of a case, and compare; again on symmetric matrices if that may tell the cause."""
    report = compared(case, progress)
    if report.first.failure or not any(map(is_unexplained, report.findings)):
        return report
    symmetric = made_symmetric(report.first, case.args, dict(case.kwargs))
    if not symmetric.names:
        return report
    again = replace(
        case,
        args=symmetric.args,
        kwargs=symmetric.kwargs,
        params={**(case.params or {}), **symmetric.params} or None,
        draws={**(case.draws or {}), **symmetric.draws} or None,
        seeds=case.seeds[:1],
        stress=False,
    )
    try:
        return told(report, compared(again, progress), symmetric.names)
    except InputError:  # a program that cannot be given these; its report stands
        return report


def compared(
    case: Case, progress: StatusCallback | None, own: dict[str, Array] | None = None
) -> Report:
    """Record both programs of a case, and compare. own: the second's parameters, by its own names."""
    for which in ("first", "second"):
        check_is_program(getattr(case, which), f"{which} program")
    first = _recorded(case, "first", progress)
    indices = _own_indices(case, first)
    if indices:
        first = _recorded(case, "first", progress, indices=indices)
    second = _recorded(case, "second", progress, like=first, rename=case.rename, own=own)
    return compare(first, second)


def _recorded(case: Case, which: str, progress: StatusCallback | None, **options: Any) -> Record:
    tell = progress or (lambda text: None)
    return record(
        getattr(case, which),
        case.args,
        dict(case.kwargs),
        params=None if case.params is None or which == "second" else dict(case.params),
        draws=None if case.draws is None else dict(case.draws),
        settings=case.settings,
        progress=lambda text: tell(f"{which} program, {text}"),
        **options,
    )


def _own_indices(case: Case, first: Record) -> dict[str, Array]:
    """Indices that the second program gives plates itself (`subsample=`), by the first program's names.

    Only of plates whose indices are given to the first program, which so can be given these.
    """
    drawn = next(iter(first.given.values()), Given()).indices
    if not drawn or case.second.framework != "pyro":  # NumPyro's plates are given none
        return {}
    session = case.second.session("float64", case.settings)
    session.outline(Given(), case.args, dict(case.kwargs))
    names = {name: name_in(case.rename.get(name, name)) for name in drawn}
    own = {name: session.own_indices.get(other) for name, other in names.items()}
    return {name: x for name, x in own.items() if x is not None and len(x) == len(drawn[name])}
