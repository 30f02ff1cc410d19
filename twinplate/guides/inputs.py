"""How an encoder's inputs are standardised: what is looked at, once, and what is checked.

An input of vectors (B, D) has a center and a spread of each column; one of images or other arrays has one
of all its entries, so that neighbours stay comparable. The center is the median, the spread that of a
normal with the same 5 % and 95 % quantiles, which an outlier does not move; a column that hardly ever
changes has its standard deviation, a constant one 1. What rounding leaves is no change.

A row with a far entry is moved in as a whole: entries moved in one by one came to no better fits
(benchmarks/guide_starts.py), and would change what an image shows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NoReturn

from twinplate.errors import InputError
from twinplate.guides.structure import Frame
from twinplate.user_code import warn_user
from twinplate.words import counted

MOST_ENTRIES = 10_000_000  # of an input that are looked at
WIDTH = 3.2897  # between the 5 % and the 95 % quantile of a standard normal
NARROW = 1e-6  # between these quantiles, in standard deviations: the column hardly ever changes
ROUNDINGS = 10  # of the center, within which a column is constant
FEW = 20  # rows, fewer than which say little of the rest
FAR = 10.0  # root mean square of a row in spreads; a row beyond is moved in, along its direction


def stride(shape: Sequence[int]) -> int:
    """Of the rows that are looked at: every one, or so few that MOST_ENTRIES are not exceeded.

    >>> stride((5, 3)), stride((20_000_000, 2))
    (1, 4)
    """
    return max(1, math.ceil(math.prod(shape) / MOST_ENTRIES))


def places(length: int) -> tuple[int, int, int]:
    """Where the low, the middle and the high one of sorted numbers are.

    >>> places(101)
    (5, 50, 95)
    """
    last = length - 1
    return last // 20, last // 2, last - last // 20


def columns(shape: Sequence[int]) -> int:
    """How many centers an input of this shape has.

    >>> columns((7, 3)), columns((7, 28, 28))
    (3, 1)
    """
    return shape[1] if len(shape) == 2 else 1


def tell_of_few(rows: int, items: Frame) -> None:
    """Warn of a first mini-batch that says little of the other items."""
    if rows < FEW and rows < items.full_size:
        warn_user(
            f"center and spread of the encoder's inputs are those of the first {counted(rows, 'item')}, of "
            f"{items.full_size} in plate {items.name!r}; call the guide once with all of the data, or with a "
            "larger part, before training, or let the plate take the mini-batches from all",
            UserWarning,
        )


def raise_without(name: str) -> NoReturn:
    """Raise InputError: what new items are measured by is not known."""
    raise InputError(
        f"there is no parameter {name!r}, by which new items are measured; train the guide first, or give "
        "the parameters that were saved with it"
    )


def check_columns(name: str, known: int, given: int) -> None:
    """Raise InputError for inputs of another width than those that the guide was made for."""
    if known != given:
        raise InputError(
            f"features gives rows of {given} numbers, and parameter {name!r} is of {known}; give the guide "
            "the same features as in training"
        )


def no_array(given: str, expected: str) -> str:
    """What to do where features are of another type, such as a dictionary."""
    return (
        f"features gives a {given}; expected {expected} with the items in rows, or a tuple of several. By "
        "default it is the first argument of the model: give features=lambda data: data['x'], or whatever "
        f"makes {expected} of the model's arguments"
    )


def check_precision(what: str, kind: str) -> None:
    """Raise InputError for numbers of 16 bits: the guide's last layer has the type that it is given.

    >>> check_precision("the encoder", "float32")
    """
    if kind in ("float16", "bfloat16"):
        raise InputError(
            f"{what} gives {kind}, in which the gradients of a guide overflow or its small steps are lost; "
            "give float32 or float64"
        )
