"""The last layer of a guide: how many numbers an item's normal takes, where they start, what is checked.

An item's normal over J numbers has J numbers of `loc`, J of `scale`, which softplus makes positive, and
those of its covariance: the packed triangle below the diagonal ("full", "blocks"), a factor (J, R) row by row
("low_rank"), none ("diagonal").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twinplate.errors import InputError
from twinplate.guides.layout import JointLayout
from twinplate.guides.structure import Frame
from twinplate.programs.triangle import packed_size
from twinplate.words import counted

Array = npt.NDArray[np.float64]

COVARIANCES = ("full", "blocks", "low_rank", "diagonal")
FIRST_SCALE = 0.1  # of the unconstrained numbers, as in Pyro's and NumPyro's automatic guides
FIRST_FACTOR = 0.05  # a factor of zeros would be a saddle

CHANGED = "The model has changed since the parameters were made; train anew, or call it as before"


@dataclass(frozen=True)
class Covariance:
    """What the covariance of an item's numbers is: `kind`, one of COVARIANCES, and the rank of "low_rank".

    Raises InputError for another kind, and for a rank where there is none.

    >>> Covariance("low_rank").rest_size(9), Covariance("full").rest_size(9)
    (27, 36)
    """

    kind: str = "full"
    rank: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in COVARIANCES:
            raise InputError(
                f"covariance is {self.kind!r}; expected one of {', '.join(COVARIANCES)}"
            )
        if self.rank is not None and (self.kind != "low_rank" or self.rank < 1):
            raise InputError(
                f'rank is {self.rank!r} with covariance={self.kind!r}; expected 1 or more, with "low_rank" '
                "alone"
            )

    def rank_of(self, size: int) -> int:
        """R for J = `size`: as given, or √J, as in the frameworks' guides of low rank."""
        return self.rank or max(1, round(size**0.5))

    def rest_size(self, size: int) -> int:
        """How many numbers of an item's normal are neither loc nor scale, for J = `size`."""
        if self.kind == "diagonal":
            return 0
        return size * self.rank_of(size) if self.kind == "low_rank" else packed_size(size)

    def head_size(self, size: int) -> int:
        """How many numbers an item's normal takes in all, for J = `size`."""
        return 2 * size + self.rest_size(size)

    def formula(self, size: int) -> str:
        """The size of the head in words, for J = `size`.

        >>> Covariance().formula(3), Covariance("low_rank", 2).formula(3)
        ('2 J + J (J - 1) / 2 = 9', '2 J + J R = 12, R = 2')
        """
        total = self.head_size(size)
        if self.kind == "low_rank":
            return f"2 J + J R = {total}, R = {self.rank_of(size)}"
        return f"2 J = {total}" if self.kind == "diagonal" else f"2 J + J (J - 1) / 2 = {total}"

    def first_rest(self, size: int) -> Array:
        """Where the numbers of the covariance start: without correlation, a factor close to it."""
        if self.kind != "low_rank":
            return np.zeros(self.rest_size(size))
        r = self.rank_of(size)
        return (FIRST_FACTOR * (np.arange(size)[:, None] % r == np.arange(r))).ravel()

    def first_bias(self, median: Array) -> Array:
        """The bias of the head (J + J + rest,): `median` (J,), the first scale before softplus, the rest."""
        raw = np.full(median.size, np.log(np.expm1(FIRST_SCALE)))
        return np.concatenate([median, raw, self.first_rest(median.size)])


def check_inputs(lengths: Sequence[int], items: Frame) -> None:
    """Raise InputError unless every input of the encoder has a row for each item of the plate.

    Of all items, from which the mini-batch's are taken, or of the mini-batch's alone.
    """
    for length in lengths:
        if length not in (items.size, items.full_size):
            expected = " or ".join(map(str, sorted({items.size, items.full_size})))
            raise InputError(
                f"features gives {counted(length, 'item')}, and plate {items.name!r} of the model has "
                f"{expected}; expected the items of the plate, one in each row"
            )


def check_own_items(length: int, items: Frame) -> None:
    """Raise InputError for per-item parameters and a mini-batch whose items nobody names."""
    if items.is_subsampled and length != items.full_size:
        raise InputError(
            f"without an encoder each of the {items.full_size} items of plate {items.name!r} has "
            f"parameters of its own, and features gives {counted(length, 'item')} without saying which "
            "they are; pass the whole data and let the plate take the mini-batch, or give an encoder"
        )


def check_given_indices(length: int, items: Frame) -> None:
    """Raise InputError for a plate with indices from the model's caller, and data to take them from."""
    if items.is_subsampled and length == items.full_size:
        raise InputError(
            f"the model gives plate {items.name!r} its indices (subsample=...), which the guide does not "
            "know; pass create_plates, a function of the model's arguments that returns this plate"
        )


def check_prefixes(inner: str, outer: str) -> None:
    """Raise InputError if a guide and the guide within it would share names."""
    if inner == outer:
        raise InputError(
            f"two automatic guides in one program have the prefix {outer!r}, and so one set of parameters; "
            'give one another: prefix="genes", for example'
        )


def check_features(shape: Sequence[int], items: int) -> None:
    """Raise InputError unless the encoder gives a vector of features for each item."""
    if len(shape) != 2 or shape[0] != items:
        raise InputError(
            f"the encoder gives shape {tuple(shape)} for {counted(items, 'item')}; expected (items, "
            f"features) = ({items}, F), F of any size: the guide adds the last layer itself"
        )


def check_head(
    prefix: str,
    bias: Sequence[int],
    weight: Sequence[int],
    width: int,
    wanted: tuple[JointLayout, Covariance],
) -> None:
    """Raise InputError for a head of another model, or of another encoder.

    bias, weight: shapes of its parameters.  width: of the encoder's features.
    """
    layout, covariance = wanted
    size, formula = covariance.head_size(layout.size), covariance.formula(layout.size)
    if tuple(bias) != (size,) or weight[0] != size:
        raise InputError(
            f"parameters {prefix + '_head_bias'!r} and {prefix + '_head_weight'!r} are of {bias[0]} and "
            f"{weight[0]} numbers, and the model asks for {formula}, J = {layout.size} ({layout.formula()}). "
            f"{CHANGED}"
        )
    if weight[1] != width:
        raise InputError(
            f"the encoder gives {counted(width, 'feature')}, and parameter {prefix + '_head_weight'!r} has "
            f"shape {tuple(weight)}: (H, F), H = {formula}, for J = {layout.size} and F = {weight[1]} "
            "features. Give the encoder that it was trained with, or train anew"
        )


def check_skip(name: str, shape: Sequence[int], expected: tuple[int, int]) -> None:
    """Raise InputError for inputs of another size than those that the skip was made for."""
    if tuple(shape) != expected:
        raise InputError(
            f"features gives {expected[1]} numbers an item, and parameter {name!r} has shape {tuple(shape)}: "
            f"(J, D), for D = {shape[1]} of them; give the guide the same features as in training"
        )


def check_rows(name: str, shape: Sequence[int], rows: int, layout: JointLayout) -> None:
    """Raise InputError for per-item parameters of other items, or of other numbers."""
    if shape[0] != rows:
        raise InputError(
            f"parameter {name!r} has rows for {counted(shape[0], 'item')}, and the plate has {rows}: new "
            "items have no parameters of their own; give an encoder, or train on all of them"
        )
    if shape[1] != layout.size:
        raise InputError(
            f"parameter {name!r} has {shape[1]} numbers an item, and the model asks for J = {layout.size} "
            f"({layout.formula()}). {CHANGED}"
        )


def bad_item(item: int) -> str:
    """Numbers that are not finite."""
    return (
        f"the encoder gives numbers that are not finite, first for item {item}; look at its data (missing "
        "entries have to be filled in, as by nan_to_num, with the mask as an input of its own), and at the "
        "learning rate"
    )
