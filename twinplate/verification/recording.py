"""Record a program: choose what its runs are given, run them, keep what they showed.

A program's own framework does three things, behind `Session`: say which sites there are, sample once, and
run with given values.
Everything else is the same for both frameworks and lives here and in `matching`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from twinplate.errors import InputError
from twinplate.records.record import (
    LOSSES,
    PERTURBED,
    PRECISIONS,
    Array,
    Given,
    Record,
    Run,
    Settings,
)
from twinplate.seeds import generator
from twinplate.verification.comparison.rounding import PERTURBATION
from twinplate.verification.frames import is_frame, with_reals
from twinplate.verification.indices import drawn_indices
from twinplate.verification.matching.autoguides import merge_values
from twinplate.verification.matching.edges import kept_inside
from twinplate.verification.matching.parameters import Rename, name_in
from twinplate.verification.matching.translation import Translation, make_translation
from twinplate.verification.matching.unconstrained import is_corr_cholesky, jitter, stressed
from twinplate.verification.square_matrices import untransposed
from twinplate.verification.trees import Tree, leaves, map_leaves
from twinplate.verification.wrapping import check_is_program, check_sites

StatusCallback = Callable[[str], None]  # is told what is run next


class Session(Protocol):
    """One program at one precision: built once, compiled once where the framework compiles.

    Once it has run, it knows the numbers that its framework trains: `unconstrained` and `constrained` take
    parameters by name to these and back.
    """

    operations: set[str]
    own_indices: dict[str, Array]  # of plates that the program gives indices itself

    def outline(self, given: Given, args: Tree, kwargs: Tree) -> Run:
        """The sites, whose numbers mean nothing, and first values of the parameters."""

    def sample(self, seed: int, given: Given, args: Tree, kwargs: Tree) -> Run:
        """Run with the framework's own draws where `given` has none, and with its parameters."""

    def run(self, given: Given, args: Tree, kwargs: Tree) -> Run:
        """Run with these draws, indices and parameters; the draws follow from the parameters."""

    def unconstrained(self, parameters: dict[str, Array]) -> dict[str, Array]:
        """The numbers that stand for constrained values in training, NaN where there are none."""

    def constrained(self, numbers: dict[str, Array]) -> dict[str, Array]:
        """The inverse of `unconstrained`."""


class Recordable(Protocol):
    """What a twin's `Program` offers. functions: what it was made of, model and guide or a builder."""

    framework: str
    functions: tuple[Any, ...]

    def versions(self) -> dict[str, str]:
        """Versions of what the record depends on, and the device."""

    def session(self, precision: str, settings: Settings) -> Session:
        """A fresh build of the program in "float64" or "float32"."""


def record(
    program: Recordable,
    args: Tree = (),
    kwargs: Tree | None = None,
    *,
    params: dict[str, Any] | None = None,
    draws: dict[str, Any] | None = None,
    settings: Settings | None = None,
    like: Record | None = None,
    rename: Rename | None = None,
    indices: dict[str, Array] | None = None,
    own: dict[str, Array] | None = None,
    progress: StatusCallback | None = None,
) -> Record:
    """Record every run of `program` on `args` and `kwargs`.

    params: constrained values, by this program's names (by the other's, with `like`); without them
        the program's first values, moved a little and differently for each seed.
    draws: values of latent sites by this program's names, of the shape of one particle's: every draw and
        every particle has them. Other sites are sampled. With `like` by the other's names, to find its sites.
    like: the record of the program to be compared with; its draws, indices and parameters are used.
    rename: this program's names for what `like` calls otherwise, {first: second} or
        {first: (second, to_second, to_first)} where the layouts differ too, of a parameter or of a site.
    indices: of subsampled plates by name, for every draw; without them drawn. Those that this program
        gives a plate itself come first.
    own: values of parameters by this program's own names, with `like` in place of the other's.
    progress: is told, in words, what is run next.

    Raises InputError for what is no program of a twin, or is one of the other framework; an unknown loss,
    `alpha` 1, no seeds, a model without sites, names that match nothing, and parameters or draws of another
    shape.
    """
    kwargs = {} if kwargs is None else kwargs
    settings = like.settings if like is not None else settings or Settings()
    check_is_program(program)
    _check_settings(settings)
    tell = progress or (lambda text: None)
    exact = program.session("float64", settings)
    tell("looking for sites")
    own_draws = draws or {} if like is None else _renamed(draws or {}, rename or {})
    wanted = _wanted(own_draws, indices or {}, params or {}, settings.particles)
    found = exact.outline(Given(wanted.draws), args, kwargs)
    if like is None:
        _check_wanted(wanted, found)
    check_sites(program, found)
    reference = None if like is None else next(iter(like.runs.values()))
    translation = make_translation(reference, found, rename)
    single = program.session("float32", settings)
    given: dict[str, Given] = {}
    runs: dict[tuple[str, str], Run] = {}
    runs_of_the_other = {} if like is None else like.runs
    for draw, seed in settings.draws.items():
        if like is None:
            given[draw] = _choose(exact, found, seed, draw, wanted, args, kwargs)
        elif draw in like.given:
            given[draw] = like.given[draw]
        else:
            break  # the other program stopped before this draw
        for precision in PRECISIONS:
            tell(f"draw {draw}, {precision}")
            session = single if precision == "float32" else exact
            run = _run(session, translation, given[draw], draw, precision, args, kwargs, own)
            runs[draw, precision] = translation.translated(run)
            if like is None and precision == "float64":
                given[draw] = _with_computed(given[draw], run)
            if _stopped(draw, runs_of_the_other) or (
                precision == "float32" and _stopped(draw, runs)  # or does double precision stop it?
            ):
                break
        if _stopped(draw, runs, runs_of_the_other):
            break
    inputs = leaves({"args": args, "kwargs": kwargs})
    names, operations = translation.names, tuple(sorted(exact.operations))
    versions = program.versions()

    def again(draw: str, moved: Given, args: Tree, kwargs: Tree) -> Run:
        run = _run(exact, translation, moved, draw, "float64", args, kwargs, own)
        return translation.translated(run)

    turned = untransposed(like, runs, given, args, kwargs, again)
    first_values = translation.translated(found).parameters
    starts = {n: p.value for n, p in first_values.items() if p.constraint != "unconstrained"}
    described = (program.framework, versions, settings, inputs, runs, given)
    return Record(*described, names, operations, turned, starts)


def _check_settings(settings: Settings) -> None:
    if settings.loss not in LOSSES:
        raise InputError(f"loss is {settings.loss!r}; expected one of {', '.join(LOSSES)}")
    if settings.loss == "RenyiELBO" and settings.alpha == 1:
        raise InputError("alpha is 1, where Rényi's bound is the ELBO itself: compare Trace_ELBO")
    if not settings.seeds:
        raise InputError("seeds is empty; expected at least one whole number")


def _run(
    session: Session,
    translation: Translation,
    given: Given,
    draw: str,
    precision: str,
    args: Tree,
    kwargs: Tree,
    parameters: dict[str, Array] | None,
) -> Run:
    own = translation.own(given)
    values = (own.draws, {**own.parameters, **(parameters or {})}, args, kwargs)
    if precision in PERTURBED:
        values = perturbed(values, generator(PERTURBED.index(precision), draw))
    return session.run(Given(values[0], own.indices, values[1]), *values[2:])


def _stopped(draw: str, *records: dict[tuple[str, str], Run]) -> bool:
    """Whether a program stops in this draw: from then on no numbers are compared, so nothing is run."""
    return any(r[draw, "float64"].failure is not None for r in records if (draw, "float64") in r)


def _choose(
    session: Session,
    found: Run,
    seed: int,
    draw: str,
    wanted: Given,
    args: Tree,
    kwargs: Tree,
) -> Given:
    """Parameters, indices and values of latent sites for one draw; those of `wanted` as they are."""
    parameters = {
        name: jitter(p.value, p.constraint, generator(seed, "parameter", name))
        for name, p in found.parameters.items()
        if p.constraint != "unconstrained"
    }
    parameters |= wanted.parameters
    sampled = session.sample(seed, Given(wanted.draws, {}, parameters), args, kwargs)
    sites = {**sampled.model, **sampled.guide}
    draws = {
        name: (stressed if draw == "stress" else kept_inside)(
            site.value, site.support, site.arguments
        )
        for name, site in sites.items()
        if site.kind in ("latent", "auxiliary") and site.value is not None
    }
    parameters = merge_values(parameters, found.parameters)
    chosen = drawn_indices(seed, sites)
    for own in (wanted.indices, session.own_indices):
        chosen |= {name: x for name, x in own.items() if name in chosen}
    return Given(draws | wanted.draws, chosen, parameters)


def _with_computed(given: Given, run: Run) -> Given:
    """What a draw gives, with the values that the program itself computed at its Delta sites."""
    computed = {
        name: site.value
        for name, site in run.guide.items()
        if site.family == "Delta" and site.kind == "latent" and site.value is not None
    }
    return replace(given, draws={**given.draws, **computed})


def _renamed(draws: dict[str, Any], rename: Rename) -> dict[str, Any]:
    """Draws by the second program's names, in its layouts where the user says so."""
    entries = {name: rename.get(name, name) for name in draws}
    return {
        name_in(entry): draws[name] if isinstance(entry, str) else entry[1](draws[name])
        for name, entry in entries.items()
    }


def _wanted(
    draws: dict[str, Any], indices: dict[str, Array], params: dict[str, Any], particles: int
) -> Given:
    """What the user gives: values of sites for every particle, indices and parameters."""
    given = {name: np.asarray(value) for name, value in draws.items()}
    for_all = {name: np.broadcast_to(x, (particles, *x.shape)) for name, x in given.items()}
    return Given(for_all, indices, {name: np.asarray(value) for name, value in params.items()})


def _check_wanted(wanted: Given, found: Run) -> None:
    """Raise InputError for names that the program does not have, and draws of another shape."""
    if found.failure is not None:
        return
    sites = {**found.model, **found.guide}
    latent = {name: s for name, s in sites.items() if s.kind in ("latent", "auxiliary")}
    for what, names, known, kind in (
        ("params", wanted.parameters, found.parameters, "parameters"),
        ("draws", wanted.draws, latent, "latent sites"),
    ):
        if unknown := sorted(set(names) - set(known)):
            raise InputError(
                f"{what} names {', '.join(unknown)}, which the program does not have; its {kind} are "
                f"{', '.join(known) or 'none'}"
            )
    for name, values in wanted.draws.items():
        expected = latent[name].batch_shape + latent[name].event_shape
        if values.shape[1:] != expected:
            raise InputError(
                f"draws gives site {name!r} the shape {values.shape[1:]}; expected {expected}, that of one "
                "particle's value"
            )


def perturbed(tree: Tree, rng: np.random.Generator) -> Tree:
    """The tree with every floating-point number multiplied by 1 ± 2⁻⁴⁰, but for arrays of whole numbers."""

    def change(leaf: Any) -> Any:
        if is_frame(leaf):
            return with_reals(change, leaf)
        if not np.issubdtype(np.asarray(leaf).dtype, np.floating):
            return leaf
        values = np.asarray(leaf, dtype=np.float64)
        if (values == np.round(values)).all():  # counts and labels kept as real numbers
            return leaf
        changed = values * (1 + PERTURBATION * rng.choice([-1.0, 1.0], size=values.shape))
        if is_corr_cholesky(values):  # the frameworks check its rows' norms to the last digits
            changed = changed / np.linalg.norm(changed, axis=-1, keepdims=True)
        return float(changed) if isinstance(leaf, float) else changed

    return map_leaves(change, tree)
