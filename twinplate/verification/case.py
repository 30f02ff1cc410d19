"""Verify: two programs, one set of arguments, one verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from twinplate.records.record import Settings
from twinplate.verification.matching.parameters import Rename
from twinplate.verification.recording import Recordable, record
from twinplate.verification.report import Report, compare


@dataclass(frozen=True)
class Case:
    """Two programs and what they are run on.

    first, second: `pyro_impl.Program` or `numpyro_impl.Program`, one of each or two of the same.
    args, kwargs: of the model and the guide: nested NumPy arrays and plain values.
    params: constrained values by the first program's names; without them, the first values, moved
        a little for each seed.
    loss: "Trace_ELBO", "TraceMeanField_ELBO", "TraceEnum_ELBO" or "TraceGraph_ELBO".
    particles: samples of the loss, one after the other or `vectorize_particles`.
    seeds: draws of the latent values; `stress` adds one of extreme values.
    rename: {first: second} for what has another name in the second program (sites, plates,
        parameters), or {first: (second, to_second, to_first)} where a parameter's layout differs.
    """

    first: Recordable
    second: Recordable
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] | None = None
    loss: str = "Trace_ELBO"
    particles: int = 1
    vectorize_particles: bool = False
    seeds: tuple[int, ...] = (0, 1, 2)
    stress: bool = True
    rename: Rename = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        """How both programs are recorded."""
        return Settings(
            self.loss, self.particles, self.vectorize_particles, tuple(self.seeds), self.stress
        )


def verify(
    first: Case | Recordable,
    second: Recordable | None = None,
    *,
    progress: Callable[[str], None] | None = None,
    **arguments: Any,
) -> Report:
    """Record the first program, the second like the first, and compare.

    Takes a `Case`, or two programs and the arguments of a `Case`. Raises InputError for bad input.
    """
    if isinstance(first, Case):
        case = first
    elif second is None:
        raise TypeError("verify takes a Case, or two programs and a Case's arguments")
    else:
        case = Case(first, second, **arguments)
    params = None if case.params is None else dict(case.params)
    args, kwargs = case.args, dict(case.kwargs)
    tell = progress or (lambda text: None)
    one = record(
        case.first,
        args,
        kwargs,
        params=params,
        settings=case.settings,
        progress=lambda text: tell(f"first program, {text}"),
    )
    two = record(
        case.second,
        args,
        kwargs,
        like=one,
        rename=case.rename,
        progress=lambda text: tell(f"second program, {text}"),
    )
    return compare(one, two)


def assert_same(
    first: Case | Recordable, second: Recordable | None = None, **arguments: Any
) -> Report:
    """`verify`; raises AssertionError, with the report as its text, unless the verdict is "same"."""
    report = verify(first, second, **arguments)
    if not report.ok:
        raise AssertionError(f"\n{report}")
    return report
