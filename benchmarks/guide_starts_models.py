"""The models of `guide_starts.py`: those of `posteriors_models.py`, and two whose data are far from 1.

scales   the images of `contrast`, columns in units from 1e-4 to 1e4
outlier  the images of `contrast`, one entry of which is 3,000
"""

from __future__ import annotations

from typing import Any

import numpy as np
from posteriors_models import MODELS as POSTERIORS
from posteriors_models import D

UNITS = np.logspace(-4, 4, D)
OUTLIER = 3000.0
MODELS = (*POSTERIORS, "scales", "outlier")


def make_data(name: str, num_items: int) -> np.ndarray:
    """Data (N, D) of a model, as they are."""
    simulate = POSTERIORS[name if name in POSTERIORS else "contrast"].simulate
    x, _ = simulate(np.random.default_rng(0), num_items)
    if name == "scales":
        return x * UNITS
    if name == "outlier":
        x[num_items // 2, 0] = OUTLIER
    return x


def make_model(name: str, f: Any, d: Any, xp: Any, array: Any, items_first: Any) -> Any:
    """The model of these data, as `posteriors_models.Model.make`."""
    if name in POSTERIORS:
        return POSTERIORS[name].make(f, d, xp, array, items_first)
    images = POSTERIORS["contrast"].make(f, d, xp, array, items_first)
    units = array(UNITS if name == "scales" else np.ones(D))

    def model(x: Any, batch_size: int | None = None) -> None:
        images(x / units, batch_size)

    return model
