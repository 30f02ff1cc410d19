"""`joint_sample` against TransformedDistribution, entry by entry, for every support that has a bijection."""

from __future__ import annotations

import math
from contextlib import ExitStack

import numpy as np
import pytest

# Support by its name in both frameworks -> how it is written, and the event shape of its values.
SHARED = {
    "real": (lambda c, a: c.real, ()),
    "positive": (lambda c, a: c.positive, ()),
    "nonnegative": (lambda c, a: c.nonnegative, ()),
    "greater than": (lambda c, a: c.greater_than(2.0), ()),
    "less than": (lambda c, a: c.less_than(-1.0), ()),
    "unit interval": (lambda c, a: c.unit_interval, ()),
    "interval": (lambda c, a: c.interval(-1.0, 3.0), ()),
    "bounds of a batch shape": (lambda c, a: c.interval(a([-1.0] * 3), a([2.0, 3.0, 4.0])), ()),
    "softplus positive": (lambda c, a: c.softplus_positive, ()),
    "real vector": (lambda c, a: c.real_vector, (2,)),
    "positive vector": (lambda c, a: c.independent(c.positive, 1), (2,)),
    "positive matrix": (lambda c, a: c.independent(c.positive, 2), (2, 3)),
    "simplex": (lambda c, a: c.simplex, (4,)),
    "matrix of simplices": (lambda c, a: c.independent(c.simplex, 1), (2, 3)),
    "ordered vector": (lambda c, a: c.ordered_vector, (3,)),
    "positive ordered vector": (lambda c, a: c.positive_ordered_vector, (3,)),
    "correlation Cholesky": (lambda c, a: c.corr_cholesky, (3, 3)),
    "correlation matrix": (lambda c, a: c.corr_matrix, (3, 3)),
}
PYRO = {
    "half open interval": (lambda c, a: c.half_open_interval(0.0, 2.0), ()),
    "cat": (lambda c, a: c.cat([c.positive, c.real], -1, [2, 3]), (5,)),
}
NUMPYRO = {
    "circular": (lambda c, a: c.circular, ()),
    "lower Cholesky": (lambda c, a: c.lower_cholesky, (2, 2)),
    "softplus lower Cholesky": (lambda c, a: c.softplus_lower_cholesky, (2, 2)),
    "scaled unit lower Cholesky": (lambda c, a: c.scaled_unit_lower_cholesky, (2, 2)),
    "positive definite": (lambda c, a: c.positive_definite, (2, 2)),
    "zero sum": (lambda c, a: c.zero_sum(1), (3,)),
    "l1 ball": (lambda c, a: c.l1_ball, (3,)),
}
SUPPORTS = {"pyro": {**SHARED, **PYRO}, "numpyro": {**SHARED, **NUMPYRO}}

# (dim of the plate of items, {extra plate: (size, dim)}, number of items, particles in a plate at dim=-4)
PLACES = {
    "no extra plate": (-1, {}, 3, None),
    "dim=-2": (-1, {"rows": (2, -2)}, 3, None),
    "dims -3 and -2": (-1, {"deep": (5, -3), "rows": (2, -2)}, 3, None),
    "items at dim=-2": (-2, {"columns": (2, -1)}, 3, None),
    "items between": (-2, {"columns": (2, -1), "deep": (4, -3)}, 3, None),
    "particles": (-1, {"rows": (2, -2)}, 3, 7),
    "particles, items at dim=-2": (-2, {"columns": (2, -1)}, 3, 7),
    "sizes of one": (-1, {"rows": (1, -2)}, 1, 1),
}


def _locals(twin, place):
    """Sites by name: (support, event shape, extra plates), of every support where it fits."""
    item_dim, extra, items, _ = place
    sites = {
        name: (write(twin.dist.constraints, twin.array), event_shape, extra)
        for name, (write, event_shape) in SUPPORTS[twin.name].items()
        if "bounds" not in name or (item_dim, items) == (-1, 3)
    }
    return {**sites, "contrast": (twin.dist.constraints.positive, (), {})}


def _program(twin, sites, place):
    """Draws all sites jointly, with a triangle for each item."""
    joint = twin.module("guides.joint")
    rng = np.random.default_rng(0)
    item_dim, extra, items, particles = place
    plate = twin.framework.plate
    around = {} if particles is None else {"particles": plate("particles", particles, dim=-4)}
    around["items"] = plate("items", items, dim=item_dim)
    plates = {name: plate(name, size, dim=dim) for name, (size, dim) in extra.items()}
    local = {
        name: joint.Local(support, event_shape, [plates[p] for p in own])
        for name, (support, event_shape, own) in sites.items()
    }
    size = joint.layout_of(local).size
    batch = (items,) + (1,) * (-item_dim - 1)
    loc, scale, lower = (
        twin.array(numbers)
        for numbers in (
            rng.normal(size=(*batch, size)),
            rng.uniform(0.5, 1.0, (*batch, size)),
            rng.normal(size=(*batch, size * (size - 1) // 2)) / size,
        )
    )
    with ExitStack() as stack:
        for made in around.values():
            stack.enter_context(made)
        normal = twin.impl.PackedMultivariateNormal(loc, scale, lower)
        joint.joint_sample("joint", normal, local)


def _placed(numbers, batch, image, extra):
    """(..., size) to (*batch, *image), entry by entry: numbers (k, …) of an item to entry k of its plates."""
    placed = np.zeros((*batch, *image))
    sizes = [size for size, _ in extra.values()]
    for entry in np.ndindex(*batch):
        own = [entry[len(batch) + dim] for _, dim in extra.values()]
        item = list(entry)
        for _, dim in extra.values():
            item[len(batch) + dim] = 0
        row = numbers[tuple(item[len(batch) - numbers.ndim + 1 :])]
        placed[entry] = row.reshape([*sizes, *image])[tuple(own)]
    return placed


# By default all supports in one place; with NumPyro, which compiles every operation of each, those
# of every kind of shape: numbers, vectors, matrices, as many numbers as the bijection takes or fewer.
FAST = "particles, items at dim=-2"
KINDS = [
    *("positive", "interval", "real vector", "positive matrix", "simplex", "matrix of simplices"),
    *("correlation Cholesky", "zero sum"),
]


@pytest.mark.parametrize(
    ("twin", "name", "supports"),
    [
        *(("pyro", FAST, None), ("numpyro", FAST, KINDS)),
        *(
            pytest.param(twin, name, None, marks=pytest.mark.slow)
            for twin in SUPPORTS
            for name in PLACES
            if (twin, name) != ("pyro", FAST)
        ),
    ],
    indirect=["twin"],
)
def test_each_site_has_the_density_of_its_bijection(twin, name, supports):
    place = PLACES[name]
    sites = _locals(twin, place)
    if supports is not None:
        sites = {name: sites[name] for name in (*supports, "contrast")}
    trace = twin.trace(_program, twin, sites, place)
    vector = trace["joint"][0]
    start = 0
    for site in sorted(sites):
        support, event_shape, extra = sites[site]
        value, log_prob, fn = trace[site]
        batch = value.shape[: value.ndim - len(event_shape)]
        transform = twin.biject_to(support)
        image = twin.module("guides.joint").Local(support, event_shape).image
        size = math.prod(image) * math.prod(n for n, _ in extra.values())
        u = twin.array(_placed(vector[..., start : start + size], batch, image, extra))
        start += size
        base = twin.dist.Normal(twin.array(np.zeros((*batch, *image))), 1.0).to_event(len(image))
        whole = twin.dist.TransformedDistribution(base, [transform])
        x = transform(u)
        density = twin.numpy(whole.log_prob(x)) - twin.numpy(base.log_prob(u))
        np.testing.assert_allclose(value, twin.numpy(x), rtol=1e-12, err_msg=site)
        np.testing.assert_allclose(log_prob, density, atol=1e-8, err_msg=site)
        assert tuple(fn.event_shape) == event_shape
    assert start == vector.shape[-1]
