"""Is a square matrix used untransposed? No shape can show it; a run with its transpose does.

torch's `Linear.weight` is (out, in), flax's kernel (in, out). Where a site of the second program differs from
the first's, the second is run once more for each square matrix among inputs, parameters and latent values,
with its transpose: if the site agrees then, this is what differs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from twinplate.records.record import Array, Given, Record, Run, Site, as_float
from twinplate.verification.trees import Tree, leaves, map_leaves

CLOSE = 1e-6  # relative, of numbers that rounding may part, and no mistake that matters

Again = Callable[[str, Given, Tree, Tree], Run]


def untransposed(
    like: Record | None,
    runs: Mapping[tuple[str, str], Run],
    given: Mapping[str, Given],
    args: Tree,
    kwargs: Tree,
    again: Again,
) -> dict[str, str]:
    """Places, such as "model y", that agree if the second program has a matrix transposed, with its name.

    like: the first program's record, None for that program itself.  runs, given: the second's, in the first
        one's names and layouts.  again: runs the second in a draw, with other parameters and arguments.
    """
    draw = next(iter(given))
    if like is None or _stopped(
        first := like.runs[draw, "float64"], second := runs[draw, "float64"]
    ):
        return {}
    apart = [place for place in _places(first) if not _agree(first, second, *place)]
    found: dict[str, str] = {}
    inputs = {"args": args, "kwargs": kwargs}
    if not apart:
        return found
    parameters = given[draw].parameters
    real = {name for name, p in first.parameters.items() if p.constraint == "real"}
    weights = {name: value for name, value in parameters.items() if name in real}
    draws = given[draw].draws
    latent = {name: x for name, x in draws.items() if may_turn(first, name, ("real", "simplex"))}
    for name, matrix in {**leaves(inputs), **weights, **latent}.items():
        turned_round = transposed(matrix, matrix.ndim - 1 if name in latent else matrix.ndim)
        if turned_round is None:
            continue
        moved = map_leaves(lambda leaf, m=matrix, t=turned_round: t if leaf is m else leaf, inputs)  # type: ignore[misc]
        weight, value = ({name: turned_round} if name in own else {} for own in (weights, latent))
        changed = replace(given[draw], parameters=parameters | weight, draws=draws | value)
        turned = again(draw, changed, moved["args"], moved["kwargs"])
        if _stopped(turned):
            continue
        mended = [place for place in apart if _agree(first, turned, *place)]
        found |= {" ".join(place): name for place in mended if " ".join(place) not in found}
    return found


def may_turn(run: Run, name: str, supports: tuple[str, ...]) -> bool:
    """Whether what uses a site can be run with its transpose: its support is one of these."""
    site = run.model.get(name) or run.guide.get(name)
    return site is not None and site.support in supports


def transposed(matrix: Array, dims: int) -> Array | None:
    """A square matrix transposed, of latent values that of every particle; None for anything else."""
    if dims != 2 or matrix.shape[-1] != matrix.shape[-2]:
        return None
    turned = np.swapaxes(matrix, -1, -2)
    return None if (matrix == turned).all() else turned


def _stopped(*runs: Run) -> bool:
    return any(run.failure is not None for run in runs)


def _places(run: Run) -> list[tuple[str, str]]:
    return [(program, name) for program in ("model", "guide") for name in getattr(run, program)]


def _agree(first: Run, second: Run, program: str, name: str) -> bool:
    """Whether a site that both runs have is the same in both, its value and its density."""
    a, b = (getattr(run, program).get(name) for run in (first, second))
    if a is None or b is None:
        return True
    pairs = zip(_numbers(a), _numbers(b), strict=False)
    return all(
        x.shape != y.shape or np.allclose(x, y, rtol=CLOSE, atol=CLOSE, equal_nan=True)
        for x, y in pairs
    )


def _numbers(site: Site) -> list[npt.NDArray[np.float64]]:
    """Value and total density of every particle, where they are known."""
    total = [] if site.log_prob is None else [site.total]
    return total if site.value is None else [as_float(site.value), *total]
