"""The table of distributions, `docs/distributions.md`: `python -m equivalence_tests.distributions.page`.

Prints the page, or writes it with `--write PATH`. Deterministic on one machine.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import jax
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as pdist
import torch

from equivalence_tests.distributions.case import BATCHES, SIZE
from equivalence_tests.distributions.errors import CASES, CaseErrors, Errors, measure_errors
from equivalence_tests.distributions.functions import POINTS, FunctionErrors, measure_functions
from twinplate.verification.comparison.functions import FUNCTIONS
from twinplate.verification.comparison.inaccuracies import INACCURACIES

# Shared names that are no row of the table, and why
LEFT_OUT = {"Distribution": "the base class"}
NAMES = {"pyro": "Pyro", "numpyro": "NumPyro"}

INTRODUCTION = """\
# Distributions in Pyro and NumPyro

Written by `python -m equivalence_tests.distributions.page --write docs/distributions.md`, from {versions}.

Each family that both libraries have, under each parametrisation, is evaluated at {points} points in float64
on the CPU, every point with parameters of its own, once at ordinary settings and once at an extreme one.

- *density*, *gradient*: largest difference of the log density and of its gradient in the parameters,
  relative to max(1, |value|), rounded up to one digit. The size of a gradient is that of its largest
  entry. 0 where both agree, also on -inf; ∞ where one is not finite. Gradients in a probability vector
  are taken along the simplex, those in a Cholesky factor in its lower triangle.
- *inaccurate*: who is further than 1e-12 from the exact value, computed with mpmath in 100 digits at the
  points of the largest differences and at two others; both may be wrong alike. Empty: both are right.
- The NumPyro column has the class; most are made by the factory of Pyro's name.
- Figures at condition number 1e8 are rounding in a factorisation; they are others on another processor.

torch's default dtype is float64 here. With float64 arguments under the default of float32, Pyro's
TruncatedPolyaGamma and SineBivariateVonMises make constants of their own in single precision, and are off
by 7e-6 and 4e-7.
"""


def figure(value: float) -> str:
    """One significant digit, rounded up."""
    if value == 0 or not math.isfinite(value):
        return "∞" if value else "0"
    exponent = math.floor(math.log10(value))
    digit = math.ceil(value / 10.0**exponent - 1e-6)
    return f"1e{exponent + 1:+03d}" if digit == 10 else f"{digit}e{exponent:+03d}"


def inaccurate(measured: CaseErrors) -> str:
    """Who is inaccurate in this setting, as the table shows it."""
    sides = set(measured.density.inaccurate)
    sides |= set(measured.gradient.inaccurate if measured.gradient else ())
    return "both" if len(sides) == 2 else "".join(NAMES[side] for side in sides)


def cells(measured: CaseErrors) -> list[str]:
    """Density, gradient, inaccurate side of one setting."""

    def largest(errors: Errors | None) -> str:
        return figure(errors.difference) if errors else "–"

    return [largest(measured.density), largest(measured.gradient), inaccurate(measured)]


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def measure_all() -> list[tuple[CaseErrors, CaseErrors]]:
    """(ordinary, extreme) of every case."""
    return [
        (measure_errors(case, extreme=False), measure_errors(case, extreme=True)) for case in CASES
    ]


def inventory() -> tuple[set[str], set[str]]:
    """Public names of distributions, classes and factories, of Pyro and of NumPyro."""
    first, second = (
        {name for name in dir(library) if name[0].isupper() and callable(getattr(library, name))}
        for library in (pdist, ndist)
    )
    return first, second


def known_rows() -> list[list[str]]:
    """The known inaccuracies (`INACCURACIES`), one row for the classes that share an entry."""
    classes: dict[tuple[str, ...], list[str]] = {}
    for i in INACCURACIES:
        bounds = figure(i.log_density), figure(i.gradient)
        key = (NAMES[i.framework], i.condition, *bounds, i.reason)
        classes.setdefault(key, []).append(i.family)
    return [[key[0], ", ".join(sorted(found)), *key[1:]] for key, found in classes.items()]


def function_rows(measured: list[FunctionErrors]) -> list[list[str]]:
    """Special functions: value and derivative of torch, then of JAX."""
    return [
        [m.case.name, "{} to {}".format(*m.range), *map(figure, (*m.torch, *m.jax))]
        for m in measured
    ]


def known_functions() -> list[list[str]]:
    """The functions that are known to be inaccurate (`FUNCTIONS`)."""
    return [
        [NAMES[f.framework], f.function, figure(f.value), figure(f.derivative), f.reason]
        for f in FUNCTIONS
    ]


FUNCTION_TEXT = """\
## Functions

Largest relative errors of special functions and their derivatives, at {points} points of each range, judged
by mpmath. torch's ndtr is (1 + erf) / 2: it has an error of 1e-16 in its lower tail, and is zero below -8.3.
JAX's betaln is behind the entries of negative binomials above.
"""


def versions() -> str:
    """The versions of both libraries and of what they stand on."""
    return ", ".join(f"{m.__name__} {m.__version__}" for m in (pyro, torch, numpyro, jax))


def page(table: list[tuple[CaseErrors, CaseErrors]], functions: list[FunctionErrors]) -> str:
    """The whole document."""
    rows = [
        [
            ordinary.case.family,
            ordinary.families[1][0],
            ordinary.case.label,
            *cells(ordinary),
            ordinary.case.words,
            *cells(extreme),
        ]
        for ordinary, extreme in sorted(table, key=lambda pair: pair[0].case.family)
    ]
    header = ["Pyro", "NumPyro", "parameters", "density", "gradient", "inaccurate"]
    first, second = inventory()
    used = {i for ordinary, _ in table for i in (ordinary.case.family, ordinary.families[1][0])}
    left_out = "\n".join(f"- {name}: {reason}." for name, reason in LEFT_OUT.items())
    return "\n".join(
        [
            INTRODUCTION.format(versions=versions(), points=BATCHES * SIZE),
            markdown([*header, "extreme setting", *header[3:]], rows),
            "## Known inaccuracies\n",
            "Bounds on the error, but for settings that the column *where* calls unbounded: there the",
            "density has none. Data in `twinplate.verification.comparison.inaccuracies`.\n",
            markdown(["library", "class", "where", "density", "gradient", "reason"], known_rows()),
            FUNCTION_TEXT.format(points=POINTS),
            markdown(
                ["function", "argument", "torch", "derivative", "JAX", "derivative"],
                function_rows(functions),
            ),
            "A difference that such an error explains is a note, where a program or its loss calls",
            "(`twinplate.verification.comparison.functions`):\n",
            markdown(["library", "function", "value", "derivative", "reason"], known_functions()),
            f"## Not in the table\n\nShared by both:\n\n{left_out}\n",
            f"Only in Pyro: {', '.join(sorted(first - second - used))}.\n",
            f"Only in NumPyro: {', '.join(sorted(second - first - used))}.\n",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the page or write it to a file."""
    parser = argparse.ArgumentParser(
        prog="python -m equivalence_tests.distributions.page", description=__doc__
    )
    parser.add_argument("--write", type=Path, metavar="PATH", help="write the page to this file")
    path = parser.parse_args(arguments).write
    text = page(measure_all(), measure_functions())
    if path is None:
        print(text, end="")
    else:
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
