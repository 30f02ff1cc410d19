"""Checks of the shapes that models and guides are given, with the layout spelt out in the message."""

from __future__ import annotations

from collections.abc import Sequence

from twinplate.errors import InputError
from twinplate.words import counted


def check_items(shape: Sequence[int], num_features: int) -> int:
    """B of an `x` of shape (B, D), items first. Raises InputError for any other shape."""
    if len(shape) == 2 and shape[1] == num_features:
        return shape[0]
    hint = "; it looks transposed: pass x.T" if len(shape) == 2 and shape[0] == num_features else ""
    raise InputError(
        f"x has shape {tuple(shape)}; expected (batch_size, num_features) = (B, {num_features}), "
        f"items first{hint}"
    )


def check_rows(shape: Sequence[int], num_features: int, has_offsets: bool) -> int:
    """B of rows (B, D), or (B, D + 1) with offsets. Raises InputError for any other shape."""
    if not has_offsets:
        return check_items(shape, num_features)
    if len(shape) == 2 and shape[1] == num_features + 1:
        return shape[0]
    raise InputError(
        f"x has shape {tuple(shape)}; expected rows (B, {num_features + 1}): the {num_features} counts of "
        "each item and its offset, as numpy.column_stack([x, program.offsets_of(x)]) makes them"
    )


def check_plated(name: str, shape: Sequence[int], num_components: int, batch_size: int) -> None:
    """Raise InputError unless `shape` broadcasts to (K, B), the batch shape of the plated site."""
    expected = (num_components, batch_size)
    padded = (1,) * (2 - len(shape)) + tuple(shape)
    if len(padded) == 2 and all(s in (1, e) for s, e in zip(padded, expected, strict=True)):
        return
    hint = ""
    if tuple(shape) == (num_components,):
        hint = f"; for one value per component pass {name}[:, None]"
    elif len(padded) == 2 and all(s in (1, e) for s, e in zip(padded[::-1], expected, strict=True)):
        hint = f"; it looks transposed: pass {name}.T, with the mini-batch on dim=-1"
    raise InputError(
        f"{name} has shape {tuple(shape)}; expected a shape that broadcasts to "
        f"(num_components, batch_size) = {expected}{hint}"
    )


def check_observed(shape: Sequence[int], num_components: int, batch_size: int) -> None:
    """Raise InputError unless an observed `a` is exactly (K, B)."""
    expected = (num_components, batch_size)
    if tuple(shape) == expected:
        return
    hint = "; it looks transposed: pass a.T" if tuple(shape) == expected[::-1] else ""
    raise InputError(
        f"observed a has shape {tuple(shape)}; expected (num_components, batch_size) = {expected}, "
        f"the layout of the plated site, for the event model too{hint}"
    )


def check_num_items(num_items: int | None, batch_size: int) -> int:
    """N, the full size of the mini_batch plate, which is B when not given. Raises InputError if N < B."""
    if num_items is None:
        return batch_size
    if num_items < batch_size:
        raise InputError(
            f"num_items is {num_items} but x holds {counted(batch_size, 'item')}; expected the size of the "
            "whole data set, at least that of the mini-batch"
        )
    return num_items
