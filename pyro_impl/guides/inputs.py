"""The inputs of an encoder in spreads around their center: any units will do, and a far item stays near."""

from __future__ import annotations

from functools import partial
from typing import Any

import pyro
import torch
from torch import Tensor

from twinplate.errors import InputError
from twinplate.guides.inputs import (
    FAR,
    NARROW,
    ROUNDINGS,
    WIDTH,
    check_columns,
    check_precision,
    columns,
    no_array,
    places,
    raise_without,
    stride,
    tell_of_few,
)
from twinplate.guides.structure import Frame


def standardized(
    prefix: str, given: list[Tensor] | None, rows: list[Tensor], items: Frame
) -> list[Tensor]:
    """`rows` (B, ...), each less its center, by its spread; those beyond FAR spreads moved in to it.

    given: the inputs of as many items as are at hand; None for new items, which say nothing of them. Center
        and spread are of those at the first call, parameters `{prefix}_center` and `{prefix}_spread` (C,),
        which have no gradient. Inputs that are not of floating point are left as they are.
    items: the plate, of whose items those at hand may be too few to say much.

    Raises InputError for inputs of another width, and where the parameters are wanted for new items.
    """
    sizes = [columns(x.shape) if x.is_floating_point() else 0 for x in rows]
    if not any(sizes):
        return rows

    def first(name: str, which: int) -> Tensor:
        if given is None:
            raise_without(name)
        if which == 0:
            tell_of_few(max(map(len, given)), items)
        return torch.cat([_moments(x)[which] for x in given if x.is_floating_point()])

    center, spread = (
        pyro.param(name, partial(first, name, which))
        for which, name in enumerate([f"{prefix}_center", f"{prefix}_spread"])
    )
    check_columns(f"{prefix}_center", len(center), sum(sizes))
    parts = zip(center.detach().split(sizes), spread.detach().split(sizes), strict=True)
    return [
        _near((x - middle) / unit) if len(middle) else x
        for x, (middle, unit) in zip(rows, parts, strict=True)
    ]


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Center and spread (C,) of the entries of `x` (N, ...)."""
    looked = x.detach()[:: stride(x.shape)].nan_to_num(0.0, 0.0, 0.0)
    table = looked.reshape(-1, columns(x.shape)).sort(0).values
    low, middle, high = (table[place] for place in places(len(table)))
    deviation = table.std(0, unbiased=False)
    rounding = ROUNDINGS * torch.finfo(x.dtype).eps * middle.abs()
    changes = high - low > torch.maximum(NARROW * deviation, rounding)
    spread = torch.where(changes, (high - low) / WIDTH, deviation)
    varies = table[-1] - table[0] > rounding
    return middle, torch.where(varies & (spread > 0), spread, rounding.clamp(min=1.0))


def as_numbers(inputs: list[Any]) -> list[Tensor]:
    """Bytes, which no embedding takes and no network computes with, as floating-point numbers.

    Raises InputError for numbers of 16 bits, and for what is no array.
    """
    for x in inputs:
        if not isinstance(x, Tensor):
            raise InputError(no_array(type(x).__name__, "a tensor"))
        check_precision("features", str(x.dtype).removeprefix("torch."))
    real = torch.get_default_dtype()
    return [x.to(real) if x.dtype == torch.uint8 else x for x in inputs]


def _near(z: Tensor) -> Tensor:
    size = z.reshape(len(z), -1).square().mean(1).clamp(min=FAR**2).sqrt()
    return z * (FAR / size).reshape(-1, *[1] * (z.dim() - 1))
