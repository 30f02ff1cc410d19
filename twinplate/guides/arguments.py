"""The arguments of a model, as its guide looks at them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from twinplate.errors import InputError
from twinplate.user_code import warn_user


def first_argument(*args: Any, **kwargs: Any) -> Any:
    """The model's first argument, whose rows are the features of an item unless others are given.

    Raises InputError where there is none.

    >>> first_argument("data", batch_size=10)
    'data'
    """
    if not args:
        raise InputError(
            "the model has no positional argument to take features from; pass features, a function of "
            "the model's arguments that gives the encoder's input"
        )
    return args[0]


def tell_of_untrained(module: str | None) -> None:
    """Warn of a function around the module of this class, whose parameters nothing trains."""
    if module is not None:
        warn_user(
            f"the encoder is a function that calls a module ({module}), whose parameters stay as they are: "
            "pass the module itself as the encoder, and what is done to its input as features=...; for a "
            "module that is to stay as it is, call it in features=...",
            UserWarning,
        )


def untrained(names: Sequence[str]) -> str:
    """Parameters that a prediction would have to make up."""
    return (
        f"there is no parameter {', '.join(map(repr, names))}, which guide or model would make anew from "
        "the items at hand; train first, or give all parameters that were saved"
    )


def tell_of_integers(shape: Sequence[int]) -> None:
    """Warn of an input of columns of integers, which may be counts or indices."""
    if math.prod(shape[1:]) > 1:
        warn_user(
            f"features gives integers of shape {tuple(shape)}, which the encoder gets as they are, as "
            "indices of an embedding have to be; give counts as floating-point numbers, to be standardised",
            UserWarning,
        )


def type_clash(inputs: Sequence[str], parameters: Sequence[str]) -> str:
    """An encoder that cannot compute with its inputs, which are of another type than its parameters."""
    return (
        f"features gives {', '.join(inputs)}, and the encoder's parameters are {', '.join(parameters)}; give "
        "both one type of floating-point numbers: encoder.double(), for example, or features=lambda x, *_: "
        "x.float()"
    )


def rows_of(inputs: Any) -> int:
    """How many items an encoder's input has, or the first of several."""
    return len(inputs[0] if isinstance(inputs, tuple | list) else inputs)


def shapes_of(value: Any) -> Any:
    """Shapes of arrays and plain values, as something to look up."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return "array", tuple(value.shape)
    if isinstance(value, dict):
        return tuple((name, shapes_of(v)) for name, v in value.items())
    if isinstance(value, tuple | list):
        return type(value), tuple(map(shapes_of, value))
    try:
        hash(value)
    except TypeError:
        return "object", id(value)
    return value
