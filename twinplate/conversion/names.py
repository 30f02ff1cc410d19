"""Parameters that were given, by the names of a program, with their shapes and constraints checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from twinplate.conversion.trained_file import Trained
from twinplate.errors import InputError
from twinplate.records.record import Array, Parameter
from twinplate.verification.recording import Session

CLOSE = 1e-5  # relative: how well a value has to survive the way to unconstrained numbers and back


def resolved(
    given: Trained, parameters: Mapping[str, Parameter], session: Session
) -> dict[str, Array]:
    """Constrained values, float64, of each of a program's `parameters`.

    A name may lack the module that the program has it in, as those of a `state_dict` do.

    Raises InputError for names that the program has not, or that could be several; for missing ones; for
    another shape; for numbers that are not finite or not in their constraint.
    """
    names = {name: _full_name(name, parameters) for name in given.params}
    missing = [name for name in parameters if name not in names.values()]
    if missing:
        raise InputError(
            f"no values are given for {', '.join(missing)}; expected one of each parameter of the program"
        )
    values = {names[n]: np.asarray(x, np.float64) for n, x in given.params.items()}
    if len(values) < len(names):
        raise InputError(f"several values are given for one parameter: {', '.join(names)}")
    raw = {n: x for n, x in values.items() if n in {names[u] for u in given.unconstrained}}
    bad = [name for name, x in values.items() if not np.isfinite(x).all()]
    if bad:
        raise InputError(f"parameter {bad[0]!r} holds numbers that are not finite; train it again")
    values |= _in_constraint(raw, parameters, session)
    _check(values, parameters, session)
    return {name: values[name] for name in parameters}


def _in_constraint(
    raw: dict[str, Array], parameters: Mapping[str, Parameter], session: Session
) -> dict[str, Array]:
    shapes = {n: session.unconstrained({n: parameters[n].value})[n].shape for n in raw}
    for name, values in raw.items():
        _check_shape(name, values.shape, shapes[name], "the unconstrained shape")
    return session.constrained(raw)


def _check(
    values: Mapping[str, Array], parameters: Mapping[str, Parameter], session: Session
) -> None:
    for name, value in values.items():
        _check_shape(name, value.shape, parameters[name].value.shape, "shape")
        again = session.constrained(session.unconstrained({name: value}))[name]
        scale = np.abs(value).max(initial=1e-300)
        if not np.allclose(again, value, rtol=CLOSE, atol=CLOSE * scale):
            raise InputError(
                f"parameter {name!r} is not in its constraint, {parameters[name].constraint}; expected "
                "constrained values, as pyro.param and svi.get_params give them"
            )


def _check_shape(name: str, given: tuple[int, ...], expected: tuple[int, ...], what: str) -> None:
    if given != expected:
        raise InputError(
            f"parameter {name!r} is given {what} {given}; expected {expected}, which it has "
            "for the case's arguments"
        )


def _full_name(name: str, parameters: Iterable[str]) -> str:
    known = list(parameters)
    if name in known:
        return name
    fits = [full for full in known if f".{full.replace('$$$', '.')}".endswith(f".{name}")]
    if len(fits) == 1:
        return fits[0]
    which = f"may be {' or '.join(fits)}" if fits else "is none of the program's parameters"
    raise InputError(f"{name!r} {which}; it has {', '.join(known)}")
