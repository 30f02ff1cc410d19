"""Tensors of the wrong shape, given to models, guides and fit: an error that names the right one."""

from __future__ import annotations

import re

import numpy as np
import pytest
import scipy.stats

from twinplate import InputError, TrainingConfig
from twinplate.programs.parameters import noise_shapes
from twinplate.seeds import base_noise

B, D, K = 5, 4, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(B, D))
MODELS = ("component_model", "event_model")
models = pytest.mark.parametrize("model", MODELS)
guides = pytest.mark.parametrize("guide", ["diagonal", "event", "auxiliary"])

X_SHAPE = "expected (batch_size, num_features) = (B, 4), items first"
PLATED = "expected a shape that broadcasts to (num_components, batch_size) = (3, 5)"
OBSERVED = "expected (num_components, batch_size) = (3, 5)"


def run_model(twin, model, x=X, a=None, num_items=None, **changes):
    arguments = {
        "loadings": np.ones((D, K)),
        "intercept": np.zeros(D),
        "noise_scale": np.ones(D),
        **changes,
    }
    arguments = {name: twin.array(values) for name, values in arguments.items()}
    a = None if a is None else twin.array(a)
    program = getattr(twin.impl, model)
    return twin.trace(program, twin.array(x), a, **arguments, num_items=num_items)


def run_guide(twin, problem, guide, x=X, a=None, num_items=None):
    _, program, params = problem(B, D, K, guide=guide)
    pair = twin.impl.build(program, params, twin.array(1.0).dtype)
    a = None if a is None else twin.array(a)
    return twin.trace(pair.guide, twin.array(x), a, num_items=num_items)


def refused(*parts):
    """InputError with every one of `parts` in its message, given and expected."""
    return pytest.raises(InputError, match=".*".join(map(re.escape, parts)))


WRONG_X = {
    "transposed": (X.T, "x has shape (4, 5)", "it looks transposed: pass x.T"),
    "one item": (X[0], "x has shape (4,)", ""),
    "a feature too few": (X[:, :3], "x has shape (5, 3)", ""),
    "particles in front": (X[None], "x has shape (1, 5, 4)", ""),
}


@models
@pytest.mark.parametrize("wrong", WRONG_X)
def test_x_given_to_a_model(twin, model, wrong):
    x, given, hint = WRONG_X[wrong]
    with refused(given, X_SHAPE, hint):
        run_model(twin, model, x)


@guides
@pytest.mark.parametrize("wrong", WRONG_X)
def test_x_given_to_a_guide(twin, problem, guide, wrong):
    x, given, hint = WRONG_X[wrong]
    with refused(given, X_SHAPE, hint):
        run_guide(twin, problem, guide, x)


@models
@pytest.mark.parametrize("name", ["loc", "scale"])
@pytest.mark.parametrize(
    ("shape", "hint"),
    [
        ((B, K), "it looks transposed: pass {}.T, with the mini-batch on dim=-1"),
        ((B, 1), "it looks transposed: pass {}.T"),
        ((1, K), "it looks transposed: pass {}.T"),
        ((K,), ""),
        ((B, K, K), ""),
        ((2, K, B), ""),
        ((K, B + 1), ""),
        ((K + 1, 1), ""),
    ],
)
def test_prior_with_the_batch_on_the_wrong_dim(twin, model, name, shape, hint):
    """The question that started it: a torch habit says (batch, components), the plates say (K, B)."""
    with refused(f"{name} has shape {shape}", PLATED, hint.format(name)):
        run_model(twin, model, **{name: np.ones(shape)})


@models
@pytest.mark.parametrize("shape", [(), (1,), (B,), (K, 1), (1, B), (K, B)])
def test_priors_that_broadcast_are_welcome(twin, model, shape):
    loc, scale = RNG.normal(size=shape), RNG.uniform(0.5, 2.0, shape)
    a, log_prob, _ = run_model(twin, model, loc=loc, scale=scale)["a"]
    if model == "event_model":
        expected = scipy.stats.norm.logpdf(a.T, loc, scale).sum(0)
    else:
        expected = scipy.stats.norm.logpdf(a, loc, scale)
    assert log_prob.shape == expected.shape
    np.testing.assert_allclose(log_prob, expected, rtol=1e-12)


WRONG_A = {
    "transposed": ((B, K), "it looks transposed: pass a.T"),
    "one item": ((K,), ""),
    "one for all items": ((K, 1), ""),
    "particles in front": ((1, K, B), ""),
}


@models
@pytest.mark.parametrize("wrong", WRONG_A)
def test_observed_a_given_to_a_model(twin, model, wrong):
    shape, hint = WRONG_A[wrong]
    with refused(f"observed a has shape {shape}", OBSERVED, hint):
        run_model(twin, model, a=np.zeros(shape))


@guides
@pytest.mark.parametrize("wrong", WRONG_A)
def test_observed_a_given_to_a_guide(twin, problem, guide, wrong):
    shape, hint = WRONG_A[wrong]
    with refused(f"observed a has shape {shape}", OBSERVED, hint):
        run_guide(twin, problem, guide, a=np.zeros(shape))


@models
@pytest.mark.parametrize("num_items", [B - 1, 0])
def test_fewer_items_than_the_mini_batch_in_a_model(twin, model, num_items):
    with refused(f"num_items is {num_items} but x holds 5 items", "expected"):
        run_model(twin, model, num_items=num_items)


@guides
def test_fewer_items_than_the_mini_batch_in_a_guide(twin, problem, guide):
    with refused("num_items is 4 but x holds 5 items", "expected"):
        run_guide(twin, problem, guide, num_items=B - 1)


@pytest.mark.parametrize(
    ("x", "num_items", "a", "message"),
    [
        (X.T, None, None, X_SHAPE),
        (X, 4, None, "num_items is 4 but x holds 5 items"),
        (X, None, np.zeros((B, K)), OBSERVED),
    ],
)
def test_evaluate_says_the_same(twin, problem, x, num_items, a, message):
    _, program, params = problem(B, D, K)
    noise = base_noise(0, 0, noise_shapes(program.config, B))
    training = TrainingConfig(precision="float64", device="cpu")
    with refused(message):
        twin.impl.evaluate(x, program, params, noise, training, a=a, num_items=num_items)


@pytest.mark.parametrize(
    ("x", "a", "objective", "batch_size", "message"),
    [
        (X[:, :3], None, "elbo", 2, X_SHAPE),
        (X.T, None, "elbo", 2, X_SHAPE),
        (X, np.zeros((B, K)), "pairs", 2, "expected (num_components, num_items) = (3, 5)"),
        (X, None, "pairs", 2, "objective 'pairs' got nothing for a"),
        (X, np.zeros((K, B)), "elbo", 2, "a is given with objective 'elbo'"),
    ],
)
def test_fit_says_so_before_the_first_step(twin, problem, x, a, objective, batch_size, message):
    _, program, _ = problem(B, D, K)
    training = TrainingConfig(steps=2, batch_size=batch_size, objective=objective, device="cpu")
    done = []
    with refused(message):
        twin.impl.fit(x, program, training, a=a, progress=lambda *report: done.append(report))
    assert not done


@pytest.mark.parametrize("x", [X.T, X[:, :3], X[0]])
def test_posterior_says_so(twin, problem, x):
    _, program, params = problem(B, D, K)
    with refused(X_SHAPE):
        twin.impl.posterior(x, program, params)


def test_where_k_equals_b_shapes_cannot_tell(twin):
    """Said in the documentation; this is what it means."""
    run_model(twin, "component_model", x=X[:K], loc=np.zeros((K, K)))


# --- right shapes: what comes out -----------------------------------------------------------------


@models
@pytest.mark.parametrize("observed", [False, True])
def test_a_model_returns_components_first(twin, problem, model, observed):
    a = np.arange(K * B, dtype=float).reshape(K, B) if observed else None
    program = getattr(twin.impl, model)
    arguments = {"loadings": np.ones((D, K)), "intercept": np.zeros(D), "noise_scale": np.ones(D)}
    arguments = {name: twin.array(v) for name, v in arguments.items()}
    returned = []

    def keep():
        returned.append(program(twin.array(X), None if a is None else twin.array(a), **arguments))

    sites = twin.trace(keep)
    value = sites["a"][0] if model == "component_model" else sites["a"][0].T
    assert value.shape == (K, B)
    np.testing.assert_array_equal(twin.numpy(returned[0]), value if a is None else a)
    np.testing.assert_array_equal(value, twin.numpy(returned[0]))


@guides
@pytest.mark.parametrize("observed", [False, True])
def test_a_guide_returns_components_first(twin, problem, guide, observed):
    a = np.arange(K * B, dtype=float).reshape(K, B) if observed else None
    _, program, params = problem(B, D, K, guide=guide)
    pair = twin.impl.build(program, params, twin.array(1.0).dtype)
    returned = []

    def keep():
        returned.append(pair.guide(twin.array(X), None if a is None else twin.array(a)))

    sites = twin.trace(keep)
    name = {"diagonal": "a", "event": "a", "auxiliary": "a_aux"}[guide]
    value = sites[name][0] if guide == "diagonal" else sites[name][0].T
    np.testing.assert_array_equal(value, twin.numpy(returned[0]))
    assert value.shape == (K, B) and (a is None or (value == a).all())
    # An observed `a` enters the auxiliary guide at `a_aux`, never at the Delta.
    assert ("a" in sites) == (guide != "auxiliary" or a is None)
