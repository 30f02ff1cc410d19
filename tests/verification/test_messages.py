"""What a report says, and in whose terms: places, lengths of series, what stopped, what to wrap."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_impl import Program
from twinplate import verify
from twinplate.verification.reports.html_page import page

# -- indices are those of the shape that the report shows ------------------------------------------------


def wide(place: int | None, event: bool = False):
    """`y` of batch shape (2, 3), or batch (3,) and event (2,); the scale at [1, 2] is another."""
    scale = torch.ones(2, 3)
    if place is not None:
        scale[1, 2] = 2.0

    def model(y):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        normal = dist.Normal(m, scale)
        with pyro.plate("items", 3, dim=-1):
            if event:
                pyro.sample("y", dist.Normal(m, scale.mT).to_event(1), obs=y.mT)
            else:
                with pyro.plate("rows", 2, dim=-2):
                    pyro.sample("y", normal, obs=y)

    return model


def guide(y):
    loc = pyro.param("loc", lambda: torch.tensor(0.1))
    pyro.sample("m", dist.Normal(loc, 1.0))


def written(first, second, particles=1):
    """The message on `y`, and the page."""
    programs = (Program(model, guide) for model in (first, second))
    y = np.arange(6.0).reshape(2, 3)
    report = verify(*programs, args=(y,), seeds=(0,), stress=False, particles=particles)
    return next(f.message for f in report.findings if f.site == "y"), page({"": report})


@pytest.mark.parametrize(
    ("particles", "event", "place"),
    [(1, False, "[1, 2]"), (2, False, "[1, 2] of particle "), (1, True, "[:, 2]")],
    ids=["one particle", "two", "summed over the rows"],
)
def test_an_index_is_one_of_the_shape_shown(particles, event, place):
    message, text = written(wide(None), wide(1, event), particles)
    assert f"numbers at {place}" in message
    assert f"<td>{place}" in text and "<td>[0, " in text
