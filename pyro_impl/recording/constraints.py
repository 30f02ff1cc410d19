"""Names of constraints that both frameworks share."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from torch.distributions import constraints

SINGLE = {
    id(getattr(constraints, name)): name
    for name in (
        "positive",
        "nonnegative",
        "unit_interval",
        "nonnegative_integer",
        "positive_integer",
    )
}
SHARED = {
    "greater_than_eq": "greater_than",
    "half_open_interval": "interval",
    "ordered_vector": "ordered",
    "positive_ordered_vector": "positive_ordered",
}
BOUNDS = ("lower_bound", "upper_bound")


def name_of(constraint: Any) -> str:
    """The shared name, without the number of event dimensions: "real", "positive", "interval", …"""
    constraint = _elementwise(constraint)
    words = re.findall("[A-Z][a-z]*", type(constraint).__name__)
    name = SINGLE.get(id(constraint), "_".join(words).lower())
    return SHARED.get(name, name)


def full_name_of(constraint: Any) -> str:
    """The shared name of a parameter's constraint, with bounds: "interval(0, 5)", "greater_than(1)".

    It stands for the map from unconstrained numbers: that of "nonnegative" is the one of "positive".
    """
    name = name_of(constraint)
    if name == "nonnegative":
        return "positive"
    if name not in ("interval", "greater_than", "less_than"):
        return name
    constraint = _elementwise(constraint)
    bounds = [getattr(constraint, bound) for bound in BOUNDS if hasattr(constraint, bound)]
    texts = (" ".join(f"{float(x):g}" for x in np.ravel(bound)) for bound in bounds)
    return f"{name}({', '.join(texts)})"


def _elementwise(constraint: Any) -> Any:
    while isinstance(constraint, constraints.independent):
        constraint = constraint.base_constraint
    return constraint
