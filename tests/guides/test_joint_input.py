"""`joint_sample`: what it refuses and how it says so; what the vector is; where its density comes from."""

from __future__ import annotations

import numpy as np
import pytest

from twinplate import InputError


def _normal(twin, *batch, size):
    return twin.impl.MultivariateNormal(
        twin.array(np.zeros((*batch, size))), scale_tril=twin.array(np.eye(size))
    )


def _draw(twin, normal, sites, items=5, full=None, extra=()):
    """The trace of a joint draw in a plate of items; `sites` is given the plates `extra`, (size, dim)."""

    def program():
        plates = [twin.framework.plate(f"extra {d}", n, b, dim=d) for n, b, d in extra]
        local = sites(twin.impl.Local, twin.dist.constraints, plates)
        with twin.framework.plate("items", full or items, items, dim=-1):
            twin.impl.joint_sample("joint", normal, local)

    return twin.trace(program)


@pytest.mark.parametrize(
    ("batch", "size", "sites", "extra", "words"),
    [
        (
            (5,),
            4,
            lambda local, c, p: {"b": local(c.simplex, (3,)), "a": local(plates=p)},
            [(4, 4, -2)],
            r"event shape \(4,\); expected \(6,\): a: 4 \(plate extra -2\) = 4, b: 2; in all 6",
        ),
        ((1,), 1, lambda local, c, p: {"a": local()}, [], r"one normal would serve 5 items"),
        ((5,), 1, lambda local, c, p: {}, [], "no site to sample"),
        ((5,), 3, lambda local, c, p: {"a": local(c.sphere, (3,))}, [], "no bijection"),
        ((5,), 2, lambda local, c, p: {"a": local(plates=p)}, [(4, 2, -2)], "subsampled, 2 of 4"),
        (
            (5,),
            4,
            lambda local, c, p: {"a": local(plates=p)},
            [(4, 4, -1)],
            "at dim=-1, where the joint",
        ),
        (
            (5,),
            6,
            lambda local, c, p: {"a": local(plates=[*p, *p])},
            [(4, 4, -2)],
            "are both at dim=-2",
        ),
    ],
)
def test_what_cannot_be_is_refused(twin, batch, size, sites, extra, words):
    with pytest.raises(InputError, match=words):
        _draw(twin, _normal(twin, *batch, size=size), sites, extra=extra)


def test_numbers_stand_in_the_order_of_names_whatever_that_of_the_sites(twin):
    loc = twin.array(np.arange(3.0) + np.zeros((5, 1)))
    normal = twin.impl.MultivariateNormal(loc, scale_tril=twin.array(1e-9 * np.eye(3)))
    for order in ("abc", "cab"):
        trace = _draw(twin, normal, lambda local, c, p, order=order: {n: local() for n in order})
        assert [n for n in trace if n in order] == list(order)
        found = [trace[n][0][0] for n in "abc"]
        np.testing.assert_allclose(found, [0, 1, 2], atol=1e-6)


def test_the_density_is_that_of_the_base_noise(twin, no_solve):
    """And the sites are sampled under the scale of a subsampled plate as any other."""
    normal = _normal(twin, 5, size=2)
    trace = _draw(twin, normal, lambda local, c, p: {"a": local(), "b": local(c.positive)}, full=20)
    vector, log_prob, _ = trace["joint"]
    np.testing.assert_allclose(log_prob, -0.5 * (vector**2).sum(-1) - np.log(2 * np.pi))
