"""Latents of an item that are known for some of the items: `obs_mask`, in closed form and on values."""

from __future__ import annotations

import numpy as np
import pytest
from guide_runs import ask, first_params, loss, loss_of, native, posterior, set_params, train
from scipy import stats
from twins import both_twins

from twinplate import InputError

N, D, K = 8, 3, 2  # items, features, components that are known for some items, and a vector of 2
rng = np.random.default_rng(0)
W = rng.normal(size=(D, K + 2))
X = rng.normal(size=(N, D))
Z = rng.normal(size=(N, K + 2))  # unconstrained values, of components and of the vector
SEEN = np.array(
    [[0, 0], [1, 0], [0, 1], [1, 1], [0, 0], [1, 0], [1, 1], [0, 1]], bool
)  # components
WHOLE = np.array([0, 0, 1, 1, 1, 0, 1, 0], bool)  # the vector
NOISE = 0.5


def _model(twin):
    """x = W [log a, b] + noise: `a` (K,) positive, in a plate, `b` a vector, each known for some items."""
    f, d = twin.framework, twin.dist
    loadings = twin.array(W)

    def model(x, a, seen, b, whole, batch_size=None):
        with f.plate("items", len(x), batch_size, dim=-1):
            x = f.subsample(x, event_dim=1)
            whole, b = f.subsample(whole, event_dim=0), f.subsample(b, event_dim=1)
            normal = d.Normal(twin.array(np.zeros(2)), 1.0).to_event(1)
            b = f.sample("b", normal, obs=b, obs_mask=whole)
            with f.plate("components", K, dim=-2):
                own, known = f.subsample(a, event_dim=0), f.subsample(seen, event_dim=0)
                a = f.sample("a", d.LogNormal(twin.array(0.0), 1.0), obs=own, obs_mask=known)
            logs = twin.impl.items_first(
                twin.torch.log(a) if twin.name == "pyro" else twin.jax.numpy.log(a)
            )
            mean = logs @ loadings[:, :K].mT + b @ loadings[:, K:].mT
            f.sample("x", d.Normal(mean, NOISE).to_event(1), obs=x)

    return model


def _bools(twin, values):
    return twin.array(values, "bool")


def _arguments(twin, z=Z, seen=SEEN, whole=WHOLE, x=X):
    """What the model is given; what is not known is far off, and must not count."""
    a = np.where(seen, np.exp(z[:, :K]), 1e3)
    b = np.where(whole[:, None], z[:, K:], -1e3)
    return (
        *(twin.array(x), twin.array(a.T), _bools(twin, seen.T)),
        *(twin.array(b), _bools(twin, whole)),
    )


def _known():
    return np.concatenate([SEEN, WHOLE[:, None], WHOLE[:, None]], 1)  # (N, J), as the numbers stand


def _exact_items():
    """Of each item, the posterior of what is unknown, elsewhere what must not count; and the log evidence."""
    rows, columns = np.tril_indices(K + 2, -1)
    loc, scale = rng.normal(size=(N, K + 2)), rng.uniform(0.5, 2.0, (N, K + 2))
    rest, evidence = rng.normal(size=(N, len(rows))), np.zeros(N)
    for i, known in enumerate(_known()):
        free, own = W[:, ~known], W[:, known]
        left = X[i] - own @ Z[i, known]
        marginal = free @ free.T + NOISE**2 * np.eye(D)
        evidence[i] = stats.multivariate_normal(np.zeros(D), marginal).logpdf(left)
        evidence[i] += stats.norm.logpdf(Z[i, known]).sum() - Z[i, :K][known[:K]].sum()  # of exp(z)
        if known.all():
            continue
        covariance = np.linalg.inv(np.eye((~known).sum()) + free.T @ free / NOISE**2)
        factor = np.linalg.cholesky(covariance)
        loc[i, ~known] = covariance @ free.T @ left / NOISE**2
        scale[i, ~known] = np.diag(factor)
        placed = np.zeros((K + 2, K + 2))
        placed[np.ix_(~known, ~known)] = factor
        among = ~known[rows] & ~known[columns]
        rest[i, among] = placed[rows, columns][among]
    return {"auto_item_loc": loc, "auto_item_scale": scale, "auto_item_rest": rest}, evidence


def _guide(twin, model, encoder=None, **given):
    return twin.impl.AutoAmortizedNormal(model, "items", encoder, **given)


LOSSES = [
    *("TraceMeanField_ELBO", "StickingTheLandingELBO"),
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("Trace_ELBO", "RenyiELBO")),
]


@pytest.mark.parametrize("elbo", LOSSES)
def test_with_the_exact_posterior_the_loss_of_any_draw_is_the_evidence(twin, elbo):
    """Of the data and of what is known; parameters of known numbers are in no way part of it."""
    model = _model(twin)
    guide = _guide(twin, model)
    params = first_params(twin, guide, *_arguments(twin))
    exact, evidence = _exact_items()
    assert {*params} == {*exact}
    if elbo == "StickingTheLandingELBO":
        elbo = twin.impl.StickingTheLandingELBO()
    of_draw = loss_of(twin, model, guide, *_arguments(twin), elbo=elbo)
    for seed in range(2):
        found = of_draw(exact, seed)
        np.testing.assert_allclose(found, -evidence.sum(), rtol=1e-9)


def test_particles_that_are_vectorised_know_the_same(twin):
    model = _model(twin)
    guide = _guide(twin, model)
    first_params(twin, guide, *_arguments(twin))
    exact, evidence = _exact_items()
    nesting = {"max_plate_nesting": 2} if twin.name == "pyro" else {}
    elbo = twin.framework.infer.Trace_ELBO(3, vectorize_particles=True, **nesting)
    found = loss(twin, model, guide, exact, *_arguments(twin), elbo=elbo)
    np.testing.assert_allclose(found, -evidence.sum(), rtol=1e-9)


def test_a_mini_batch_knows_which_of_its_own_items_are_known(twin):
    model = _model(twin)
    guide = _guide(twin, model)
    first_params(twin, guide, *_arguments(twin), batch_size=2)
    exact, evidence = _exact_items()
    pairs = [evidence[i] + evidence[j] for i in range(N) for j in range(i)]
    of_two = loss_of(twin, model, guide, *_arguments(twin), batch_size=2)
    for seed in range(3):
        found = of_two(exact, seed)
        assert min(abs(found + N / 2 * pair) for pair in pairs) < 1e-8


@both_twins("covariance", ["full", "low_rank", "diagonal"], quick=["full", "diagonal"])
def test_numbers_that_are_known_have_no_gradient_and_no_density(twin, covariance):
    """Whatever their parameters are, the loss of a draw is the same; those of the others count."""
    model = _model(twin)
    guide = _guide(twin, model, covariance=covariance)
    params = first_params(twin, guide, *_arguments(twin))
    of_draw = loss_of(twin, model, guide, *_arguments(twin))
    for names in (["auto_item_loc"], ["auto_item_loc", "auto_item_scale"]):
        for of_known in (True, False):
            other = dict(params)
            for name in names:
                other[name] = params[name] * np.where(_known() == of_known, 1.7, 1.0)
                other[name] = other[name] + 0.1 * (_known() == of_known)
            found = [of_draw(numbers, seed=0) for numbers in (params, other)]
            assert (abs(found[0] - found[1]) < 1e-9) == of_known


def _rows(x, a, seen, b, whole, batch_size=None):
    """All that is known of an item, zeros for the rest, and what is known."""
    parts = [x, (a * seen).T, seen.T, b * whole[:, None], whole[:, None]]
    if type(x).__module__ == "torch":
        import torch

        return torch.cat([part.to(x) for part in parts], -1)
    import jax.numpy as jnp

    return jnp.concatenate([jnp.asarray(part, x.dtype) for part in parts], -1)


def _amortised(twin):
    model = _model(twin)
    guide = _guide(twin, model, lambda x: x, features=_rows)
    params = first_params(twin, guide, *_arguments(twin))
    generator = np.random.default_rng(1)
    for name in ("auto_head_weight", "auto_head_bias", "auto_skip_weight"):
        params[name] = params[name] + 0.1 * generator.normal(size=params[name].shape)
    return model, guide, params


def test_what_is_known_of_an_item_changes_the_posterior_of_no_other(twin):
    _, guide, params = _amortised(twin)

    def normal(**changed):
        found = posterior(twin, guide, params, *_arguments(twin, **changed))
        both = [twin.numpy(found.loc), twin.numpy(found.covariance_matrix).reshape(N, -1)]
        return np.concatenate(both, -1)

    before = normal()
    z, seen = Z.copy(), SEEN.copy()
    z[1, 0] += 1
    seen[6, 0] = False
    for changed, item in (({"z": z}, 1), ({"seen": seen}, 6)):
        after = normal(**changed)
        assert [bool(d) for d in (before != after).any(-1)] == [i == item for i in range(N)]


def test_the_posterior_of_known_numbers_stands_apart(twin):
    _, guide, params = _amortised(twin)
    normal = posterior(twin, guide, params, *_arguments(twin))
    loc, covariance = twin.numpy(normal.loc), twin.numpy(normal.covariance_matrix)
    assert (loc[_known()] == 0).all() and (loc[~_known()] != 0).all()
    for known, c in zip(_known(), covariance, strict=True):
        np.testing.assert_array_equal(c[known], np.eye(K + 2)[known])
        assert (c[np.ix_(~known, ~known)] != 0).all()


def test_the_posterior_of_a_mini_batch_is_refused(twin):
    _, guide, params = _amortised(twin)
    with pytest.raises(InputError, match=r"takes 2 of the 8 items.*without a mini-batch"):
        posterior(twin, guide, params, *_arguments(twin), batch_size=2)


# NumPyro trains on mini-batches in test_automatic_ways.py.
@pytest.mark.parametrize(
    "twin", ["pyro", pytest.param("numpyro", marks=pytest.mark.slow)], indirect=True
)
def test_it_trains_on_mini_batches(twin):
    model = _model(twin)
    guide = _guide(twin, model, lambda x: x, features=_rows)
    first = first_params(twin, guide, *_arguments(twin))
    of_draw = loss_of(twin, model, guide, *_arguments(twin))
    before = of_draw(first, seed=0)
    _, params = train(twin, model, guide, 60, *_arguments(twin), batch_size=4, rate=0.02)
    after = of_draw(params, seed=0)
    assert after < before - 10  # of 30, at best


def test_it_predicts_with_what_is_known(twin):
    """Known entries are in the predictions as they were given, block by block."""
    model, guide, params = _amortised(twin)
    set_params(twin, params)
    given = () if twin.name == "pyro" else (twin.jax.random.key(0), native(twin, params))
    draws = twin.impl.predict(
        *given, model, guide, *_arguments(twin), batch_size=3, plate="items", num_samples=4
    )
    assert draws["x"].shape == (4, N, D)
    for name, expected, known in (
        ("a", np.exp(Z[:, :K]).T, SEEN.T),
        ("b", Z[:, K:], np.repeat(WHOLE[:, None], 2, 1)),
    ):
        drawn = twin.numpy(draws[name])
        np.testing.assert_allclose(drawn[:, known], np.tile(expected[known], (4, 1)), rtol=1e-6)
        unknown = twin.numpy(draws[f"{name}_unobserved"])[:, ~known]
        np.testing.assert_array_equal(drawn[:, ~known], unknown)
        assert (np.ptp(unknown, 0) > 0).all()


def test_medians_of_what_is_unknown_are_those_of_the_posterior(twin):
    _, guide, params = _amortised(twin)
    median = twin.numpy(ask(twin, guide, "median", params, *_arguments(twin))["a_unobserved"]).T
    loc = twin.numpy(posterior(twin, guide, params, *_arguments(twin)).loc)[:, :K]
    np.testing.assert_allclose(median[~SEEN], np.exp(loc[~SEEN]), rtol=1e-12)


def test_by_hand_the_shape_of_what_is_known_must_fit(twin):
    f, c = twin.framework, twin.dist.constraints
    plates = [f.plate("components", K, dim=-2)]

    def program(known, normal):
        local = twin.impl.Local(c.real, plates=plates, known=_bools(twin, known))
        with f.plate("items", N, dim=-1):
            twin.impl.joint_sample("joint", normal, {"a_unobserved": local})

    loc, one = twin.array(np.zeros((N, K))), twin.array(np.ones(K))
    own = twin.impl.MultivariateNormal(loc, scale_tril=twin.array(np.eye(K) + np.tri(K)))
    for known in (SEEN.T, SEEN.T[:, :1], SEEN[:, 0]):
        trace = twin.trace(program, known, own)
        whole = np.broadcast_to(known, (K, N))
        assert ((trace["a_unobserved"][1] == 0) | ~whole).all()
        free = ~whole.T
        u = trace["joint"][0]
        factor = np.where(free[:, :, None] & free[:, None], np.eye(K) + np.tri(K), np.eye(K))
        total = trace["joint"][1] - -trace["joint_known"][1]
        for i in range(N):
            f_ = factor[i][np.ix_(free[i], free[i])]
            e = (
                stats.multivariate_normal(np.zeros(len(f_)), f_ @ f_.T).logpdf(u[i, free[i]])
                if len(f_)
                else 0
            )
            np.testing.assert_allclose(total[i], e, atol=1e-10)
    with pytest.raises(
        InputError, match=r"known of site 'a_unobserved' has shape \(8, 2\); expected \(2, 8\)"
    ):
        twin.trace(program, SEEN, own)
    with pytest.raises(InputError, match="cannot be left out; give MultivariateNormal"):
        twin.trace(program, SEEN.T, twin.dist.Normal(loc, one).to_event(1))
