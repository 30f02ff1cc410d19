"""What one run of a model and its guide was: sites, densities, ELBO and gradients, in NumPy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twinplate.programs.program import Params
from twinplate.records.record import Site


@dataclass(frozen=True)
class Evaluation:
    """Sites by name in execution order; ELBO of every particle, the loss and its gradient.

    returned: what the model returned, (P, K, B).
    elbo: (P,), Σ model - Σ guide.  loss: what the framework's own Trace_ELBO gives, -mean(elbo).
    gradient: of the loss, neutral layout.
    """

    guide: dict[str, Site]
    model: dict[str, Site]
    returned: npt.NDArray[np.float64]
    elbo: npt.NDArray[np.float64]
    loss: float
    gradient: Params


def sum_of_sites(guide: dict[str, Site], model: dict[str, Site]) -> npt.NDArray[np.float64]:
    """ELBO of every particle from the sites, (P,), summed in execution order."""
    return sum((s.total for s in model.values()), np.zeros(())) - sum(
        (s.total for s in guide.values()), np.zeros(())
    )
