"""Parameters of the automatic guide have the same names, shapes and meaning in both twins."""

from __future__ import annotations

import numpy as np
import pytest
from guide_runs import first_params, posterior
from twins import TWINS

X = np.random.default_rng(0).normal(size=(5, 3))


def _model(twin):
    f, d = twin.framework, twin.dist

    def model(x):
        with f.plate("items", len(x), dim=-1):
            f.sample("size", d.LogNormal(twin.array(0.0), 1.0))
            f.sample("mix", d.Dirichlet(twin.array(np.ones(3))))
            with f.plate("parts", 2, dim=-2):
                f.sample("a", d.Normal(twin.array(0.0), 1.0))

    return model


@pytest.mark.parametrize(
    ("amortized", "covariance"),
    [
        *((True, "low_rank"), (False, "full")),
        pytest.param(True, "full", marks=pytest.mark.slow),
        pytest.param(False, "low_rank", marks=pytest.mark.slow),
    ],
)
def test_the_same_numbers_are_the_same_posterior(covariance, amortized, own_world):
    encoder = (lambda x: x[:, :2]) if amortized else None
    found, shapes, rng = [], [], np.random.default_rng(1)
    values = None
    for name in sorted(TWINS):
        twin = TWINS[name]()
        with twin.using("float64"):
            guide = twin.impl.AutoAmortizedNormal(
                _model(twin), "items", encoder, covariance=covariance
            )
            first = first_params(twin, guide, twin.array(X))
            shapes.append({n: v.shape for n, v in first.items()})
            values = values or {n: rng.uniform(0.1, 1.0, v.shape) for n, v in first.items()}
            normal = posterior(twin, guide, values, twin.array(X))
            found.append((twin.numpy(normal.loc), twin.numpy(normal.covariance_matrix)))
    assert shapes[0] == shapes[1] and len(shapes[0]) == (5 if amortized else 3)
    for mine, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-10)
