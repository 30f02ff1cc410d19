"""Declared types as other versions of NumPy write them."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import pytest
from typing_extensions import TypeAliasType

from twinplate.records.typed import check_types

T = TypeVar("T")
ALIAS = TypeAliasType("ALIAS", np.ndarray[Any, T], type_params=(T,))  # as NDArray of NumPy 2.5


def test_an_alias_is_what_it_stands_for() -> None:
    check_types({"a": np.ones(2), "b": None}, dict[str, ALIAS[Any] | None])
    with pytest.raises(TypeError, match=r"it\['a'\] is of type list"):
        check_types({"a": [1.0]}, dict[str, ALIAS[Any]])
