"""Arguments of programs: nested tuples, lists and dictionaries of arrays and plain values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from twinplate.records.record import Array

Tree = Any  # nested tuples, lists and dictionaries of NumPy arrays and plain values


def map_leaves(function: Callable[[Any], Any], tree: Tree) -> Tree:
    """Apply to every leaf of nested tuples, lists and dictionaries."""
    if isinstance(tree, dict):
        return {key: map_leaves(function, value) for key, value in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(map_leaves(function, value) for value in tree))
    if isinstance(tree, tuple | list):
        return type(tree)(map_leaves(function, value) for value in tree)
    return function(tree)


def leaves(tree: Tree, path: str = "") -> dict[str, Array]:
    """The arrays and numbers of a tree by path, such as "args/0"."""
    if isinstance(tree, dict):
        pairs = [(str(key), value) for key, value in tree.items()]
    elif isinstance(tree, tuple | list):
        pairs = [(str(i), value) for i, value in enumerate(tree)]
    elif isinstance(tree, np.ndarray | np.generic | int | float | bool):
        return {path: np.asarray(tree)}
    else:
        return {}
    found: dict[str, Array] = {}
    for key, value in pairs:
        found |= leaves(value, f"{path}/{key}" if path else key)
    return found
