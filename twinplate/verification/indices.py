"""Which items a subsampled plate takes: the same in both programs, drawn here unless a program says so."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from twinplate.records.record import Array, Site
from twinplate.seeds import generator


def drawn_indices(seed: int, sites: Mapping[str, Site]) -> dict[str, Array]:
    """Shared subsample indices (subsample_size,) of every plate that takes a subsample."""
    plates = {p.name: p for site in sites.values() for p in site.plates}
    return {
        name: np.sort(
            generator(seed, "indices", name).choice(p.size, p.subsample_size, replace=False)
        )
        for name, p in plates.items()
        if p.subsample_size < p.size
    }
