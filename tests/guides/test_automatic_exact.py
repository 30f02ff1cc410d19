"""The automatic guide against closed forms: a linear-Gaussian model, whose posterior it can have exactly."""

from __future__ import annotations

import numpy as np
import pytest
from guide_runs import first_params, loss, loss_of, posterior
from scipy import stats

from twinplate import InputError

N, D, K = 6, 4, 2  # items, features, components; and a vector of 3
rng = np.random.default_rng(0)
W = rng.normal(size=(D, K + 3))
X = rng.normal(size=(N, D))
NOISE = 0.5


def _model(twin):
    """x = W [a, b] + noise, with `a` (K,) in a plate and `b` a vector; in NumPy's order of names."""
    f, d = twin.framework, twin.dist
    loadings = twin.array(W)

    def model(x, batch_size=None):
        plate = f.plate("mini_batch", len(x), batch_size, dim=-1)
        with plate:
            x = f.subsample(x, event_dim=1)
            b = f.sample("b", d.Normal(twin.array(np.zeros(3)), 1.0).to_event(1))
            with f.plate("components", K, dim=-2):
                a = f.sample("a", d.Normal(twin.array(0.0), 1.0))
            first = (a if a.ndim == 2 else a.squeeze(-3)).mT
            mean = first @ loadings[:, :K].mT + b @ loadings[:, K:].mT
            f.sample("x", d.Normal(mean, NOISE).to_event(1), obs=x)

    return model


def _exact_params():
    """Of the posterior N(V Wᵀ x / σ², V), V = (I + Wᵀ W / σ²)⁻¹: a constant factor, and loc linear in x."""
    covariance = np.linalg.inv(np.eye(K + 3) + W.T @ W / NOISE**2)
    factor = np.linalg.cholesky(covariance)
    raw = np.log(np.expm1(np.diag(factor)))
    below = factor[np.tril_indices(K + 3, -1)]
    return {
        "auto_head_bias": np.concatenate([np.zeros(K + 3), raw, below]),
        "auto_skip_weight": covariance @ W.T / NOISE**2,
        "auto_center": np.zeros(D),
        "auto_spread": np.ones(D),
    }


def _log_evidence():
    return stats.multivariate_normal(np.zeros(D), W @ W.T + NOISE**2 * np.eye(D)).logpdf(X)


def _guide(twin, model, **given):
    return twin.impl.AutoAmortizedNormal(model, "mini_batch", lambda x: x, **given)


@pytest.mark.parametrize("elbo", ["Trace_ELBO", "TraceMeanField_ELBO", "TraceGraph_ELBO"])
def test_with_the_exact_posterior_the_loss_of_any_draw_is_the_evidence(twin, elbo):
    model = _model(twin)
    guide = _guide(twin, model)
    params = first_params(twin, guide, twin.array(X))
    found = loss(twin, model, guide, {**params, **_exact_params()}, twin.array(X), elbo=elbo)
    np.testing.assert_allclose(found, -_log_evidence().sum(), rtol=1e-10)


def _renyi(twin):
    return twin.framework.infer.RenyiELBO(alpha=0.5, num_particles=2)


def test_renyis_bound_with_the_exact_posterior_is_the_evidence(twin):
    model = _model(twin)
    guide = _guide(twin, model)
    params = {**first_params(twin, guide, twin.array(X)), **_exact_params()}
    found = loss(twin, model, guide, params, twin.array(X), elbo=_renyi(twin))
    np.testing.assert_allclose(found, -_log_evidence().sum(), rtol=1e-10)


def _in_two_plates(twin, event):
    """x = z + noise in every column, of which the model has a plate, or an event."""
    f, d = twin.framework, twin.dist

    def columns(x):
        normal = d.Normal(twin.array(np.zeros(D if event else 1)), 1.0)
        z = f.sample("z", normal.to_event(1) if event else d.Normal(twin.array(0.0), 1.0))
        noise = d.Normal(z, NOISE)
        f.sample("x", noise.to_event(1) if event else noise, obs=x if event else x.mT)

    def model(x):
        with f.plate("items", len(x), dim=-1):
            if event:
                columns(x)
            else:
                with f.plate("columns", D, dim=-2):
                    columns(x)

    return model


def test_renyis_bound_is_refused_where_it_would_be_taken_apart_within_items(twin):
    """By a plate of columns that all sites are in; without that plate the bound is the evidence."""
    evidence = stats.norm(0, np.sqrt(1 + NOISE**2)).logpdf(X).sum()
    variance = 1 / (1 + NOISE**-2)
    exact = {
        "auto_item_loc": variance * X / NOISE**2,
        "auto_item_scale": np.full((N, D), variance**0.5),
        "auto_item_rest": np.zeros((N, D * (D - 1) // 2)),
    }
    for event in (False, True):
        model = _in_two_plates(twin, event)
        if twin.name == "pyro":
            twin.framework.clear_param_store()
        guide = twin.impl.AutoAmortizedNormal(model, "items")
        first_params(twin, guide, twin.array(X))
        given = model, guide, exact, twin.array(X)
        np.testing.assert_allclose(loss(twin, *given), -evidence, rtol=1e-10)
        if event:
            found = loss(twin, *given, elbo=_renyi(twin))
            np.testing.assert_allclose(found, -evidence, rtol=1e-10)
        else:
            with pytest.raises(InputError, match=r"'items' and 'columns'.*declare that dim depend"):
                loss(twin, *given, elbo=_renyi(twin))


def test_a_mini_batch_is_scaled_and_its_items_are_those_of_the_model(twin):
    """N/B times the evidence of B items, whichever they are: the closed form of some subset of the items."""
    model = _model(twin)
    guide = _guide(twin, model)
    params = {**first_params(twin, guide, twin.array(X)), **_exact_params()}
    of_two = loss_of(twin, model, guide, twin.array(X), batch_size=2)
    for seed in range(3):
        found = of_two(params, seed)
        each = _log_evidence()
        pairs = [each[i] + each[j] for i in range(N) for j in range(i)]
        assert min(abs(found + N / 2 * pair) for pair in pairs) < 1e-8


def test_it_starts_at_the_priors_median_with_scale_a_tenth(twin):
    guide = _guide(twin, _model(twin))
    params = first_params(twin, guide, twin.array(X))
    normal = posterior(twin, guide, params, twin.array(X))
    assert tuple(normal.loc.shape) == (N, K + 3)
    np.testing.assert_allclose(twin.numpy(normal.loc), 0, atol=0.3)
    expected = 0.01 * np.eye(K + 3)
    np.testing.assert_allclose(twin.numpy(normal.covariance_matrix)[0], expected, atol=1e-12)


def test_no_item_has_to_do_with_another(twin):
    """Changing one item's data changes its own posterior alone; new items, one or many, have their own."""
    model = _model(twin)
    guide = _guide(twin, model)
    params = {**first_params(twin, guide, twin.array(X)), **_exact_params()}
    before = twin.numpy(posterior(twin, guide, params, twin.array(X)).loc)
    changed = X.copy()
    changed[2] += 1
    after = twin.numpy(posterior(twin, guide, params, twin.array(changed)).loc)
    assert [bool(d) for d in (before != after).any(-1)] == [i == 2 for i in range(N)]
    for new in (X[3:4], np.tile(X[3], (9, 1))):
        found = twin.numpy(posterior(twin, guide, params, twin.array(new)).loc)
        np.testing.assert_allclose(found, np.tile(before[3], (len(new), 1)), rtol=1e-12)
