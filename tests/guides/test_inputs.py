"""What the encoder of the automatic guide is given: data of any units, and no item from far away."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from guide_runs import first_params, loss, posterior, train

from twinplate import InputError

N, D = 101, 3
X = np.random.default_rng(0).normal(size=(N, D))


def _guide(twin, seen=None, **given):
    f, d = twin.framework, twin.dist

    def model(x):
        with f.plate("items", len(x), dim=-1):
            z = f.sample("z", d.Normal(twin.array(0.0), 1.0))
            f.sample("x", d.Normal(z[..., None] / 10, 1.0).to_event(1), obs=twin.array(X))

    def encoder(*inputs):
        if seen is not None:
            seen.append([twin.numpy(x) for x in inputs])
        return inputs[0].reshape(len(inputs[0]), -1)

    return model, twin.impl.AutoAmortizedNormal(model, "items", encoder, **given)


def _seen(twin, *inputs, **given):
    """What the encoder gets at the first call."""
    seen = []
    if twin.name == "pyro":
        twin.framework.clear_param_store()
    _, guide = _guide(twin, seen, features=lambda *_: inputs, **given)
    first_params(twin, guide, inputs[0])
    return seen[0]


def test_the_units_of_the_data_do_not_matter(twin):
    plain = _seen(twin, twin.array(X))[0]
    other = _seen(twin, twin.array(X * [1e-4, 1.0, 1e4] + [5.0, 0.0, -3e4]))[0]
    np.testing.assert_allclose(other, plain, atol=1e-8)
    assert (abs(np.median(plain, 0)) < 1e-12).all()
    np.testing.assert_allclose(plain.std(0), 1, atol=0.2)


def test_an_outlier_is_moved_in_and_moves_nothing_else(twin):
    far = X.copy()
    far[7] = [3000.0, 0.0, -4000.0]
    plain, found = (_seen(twin, twin.array(x))[0] for x in (X, far))
    assert np.sqrt((found[7] ** 2).mean()) == pytest.approx(10)
    assert found[7, 0] / found[7, 2] == pytest.approx(-0.75, rel=0.1)
    others = np.arange(N) != 7
    np.testing.assert_allclose(found[others], plain[others], atol=0.2)


def test_columns_without_a_spread_have_a_standard_deviation_or_one(twin):
    x = np.zeros((N, 2))
    x[:2, 0], x[:, 1] = 1.0, 4.0
    (found,) = _seen(twin, twin.array(x))
    np.testing.assert_allclose(found[2:, 0], 0)
    assert found[0, 0] == pytest.approx(1 / x[:, 0].std())
    np.testing.assert_array_equal(found[:, 1], 0)


def test_a_constant_column_of_single_precision_has_a_spread_of_one(twin):
    """Its standard deviation may be what rounding leaves, and a new item would be far away by that."""
    x = X.copy()
    x[:, 1] = 0.1
    moments = twin.module("guides.inputs")._moments
    spread = twin.numpy(moments(twin.array(x, "float32"))[1])
    assert spread[1] == 1 and 0.5 < spread[0] < 2


def test_an_input_of_a_number_an_item_is_a_column(twin):
    depth = 2 * X[:, 0] + 1
    found = _seen(twin, twin.array(X), twin.array(depth))[1]
    expected = depth - np.median(depth)
    np.testing.assert_allclose(found * (expected @ found) / (found @ found), expected, atol=1e-9)


@pytest.mark.parametrize("name", ["auto_center", "auto_spread"])
def test_new_items_are_not_measured_by_themselves(twin, name):
    """As they would be by parameters that lack what was measured in training."""
    if twin.name == "pyro":
        twin.framework.clear_param_store()
    _, guide = _guide(twin)
    params = first_params(twin, guide, twin.array(X))
    del params[name]
    if twin.name == "pyro":
        del twin.framework.get_param_store()[name]
    with pytest.raises(InputError, match=f"there is no parameter '{name}'.*train the guide first"):
        posterior(twin, guide, params, twin.array(X[:1] + 50))


def test_images_have_one_center_and_whole_numbers_stay_as_they_are(twin):
    images = 7 + 100 * np.random.default_rng(1).normal(size=(N, 4, 5)) * np.linspace(0.5, 2, 5)
    kinds = np.arange(N)[:, None]
    found = _seen(twin, twin.array(images), twin.array(kinds, "int32"))
    np.testing.assert_array_equal(found[1], kinds)
    scale = (images - np.median(images)).ravel() @ found[0].ravel() / (found[0] ** 2).sum()
    np.testing.assert_allclose(found[0] * scale, images - np.median(images), atol=1.0)


def test_center_and_spread_are_those_of_the_first_call_and_stay(twin):
    model, guide = _guide(twin)
    _, after = train(twin, model, guide, 3, twin.array(X))
    expected = np.median(X, 0)
    np.testing.assert_allclose(after["auto_center"], expected, rtol=1e-12)
    shifted = posterior(twin, guide, after, twin.array(X + 100.0))
    assert (
        twin.numpy(shifted.loc) != twin.numpy(posterior(twin, guide, after, twin.array(X)).loc)
    ).all()


def test_features_of_another_width_are_refused(twin):
    _, guide = _guide(twin)
    params = first_params(twin, guide, twin.array(X))
    with pytest.raises(InputError, match=r"rows of 2 numbers, and parameter 'auto_center' is of 3"):
        posterior(twin, guide, params, twin.array(X[:, :2]))


@pytest.mark.parametrize(("items", "cut"), [(11, True), (10, False)])
def test_the_gradient_of_an_item_that_stands_out_is_cut(twin, items, cut):
    """To a hundred times that of the item at nine tenths; all others are as they were, to the bit."""
    weights = np.arange(1.0, items + 1)[:, None] * [0.3, -1.0]
    weights[4] *= 1e9
    cutting = twin.module("guides.cutting").cut_gradients
    (found,) = twin.gradients(
        lambda n: (cutting(n * 1.0) * twin.array(weights)).sum(), twin.array(np.zeros((items, 2)))
    )
    expected = weights.copy()
    if cut:
        expected[4] *= (
            100 * 11 / 5e9
        )  # sizes without the fifth are 1 to 11: the place of nine tenths is 11
    others = np.arange(items) != 4
    np.testing.assert_array_equal(found[others], weights[others])
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_an_outlier_does_not_stop_training(twin):
    far = X.copy()
    far[7] = 1e6
    model, guide = _guide(twin)
    losses, params = train(twin, model, guide, 60, twin.array(far), rate=0.05)
    assert np.isfinite(losses).all()
    assert np.median(losses[-10:]) < np.median(losses[:10])
    assert np.isfinite(loss(twin, model, guide, params, twin.array(far)))


def test_images_of_bytes_are_standardised_and_masks_stay_masks(twin):
    images = np.random.default_rng(1).integers(0, 256, size=(N, 4, 5))
    mask = np.random.default_rng(2).uniform(size=(N, D)) < 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = _seen(twin, twin.array(images, "uint8"), twin.array(mask, "bool"))
    real = "float32" if twin.name == "pyro" else "float64"
    (expected,) = _seen(twin, twin.array(images, real))
    np.testing.assert_array_equal(found[0], expected)
    assert np.abs(expected).max() < 3
    np.testing.assert_array_equal(found[1], mask)


def test_columns_of_integers_are_told_of(twin):
    """In NumPyro a network computes with counts as they are, and diverges."""
    counts = twin.array(np.arange(N * D).reshape(N, D), "int64")
    with pytest.warns(UserWarning, match="gives integers of shape .*give counts as floating-point"):
        found = _seen(twin, twin.array(X), counts)
    assert found[1].max() == N * D - 1


def test_what_rounding_leaves_of_a_column_is_no_spread(twin):
    """And a column that hardly ever changes has its standard deviation, rounded or not."""
    x = np.full((N, 3), 1e6)
    jitter = np.random.default_rng(0).normal(size=N)
    x[:, 0] += 0.06 * jitter  # of single precision, whose neighbours are 0.06 apart
    x[:, 1] = 1e-9 * jitter
    x[:3, 1] = 1.0
    x[:, 2] += 100 * jitter
    moments = twin.module("guides.inputs")._moments
    spread = twin.numpy(moments(twin.array(x, "float32"))[1])
    assert 1 <= spread[0] < 2
    np.testing.assert_allclose(spread[1], x[:, 1].std(), rtol=1e-3)
    np.testing.assert_allclose(spread[2], 100, rtol=0.3)


def test_few_first_rows_of_many_items_are_told_of(twin):
    def model(x):
        with twin.framework.plate("items", N, len(x), dim=-1):
            twin.framework.sample("z", twin.dist.Normal(twin.array(0.0), 1.0))

    def told(rows):
        if twin.name == "pyro":
            twin.framework.clear_param_store()
        guide = twin.impl.AutoAmortizedNormal(model, "items", lambda x: x)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            first_params(twin, guide, twin.array(X[:rows]))
        return [str(w.message) for w in caught]

    (text,) = told(5)
    assert "are those of the first 5 items, of 101 in plate 'items'" in text
    assert told(30) == []


def test_images_of_another_size_are_refused(twin):
    model, _ = _guide(twin)
    guide = twin.impl.AutoAmortizedNormal(model, "items", lambda x: x[:, :1, 0])
    params = first_params(twin, guide, twin.array(X.reshape(N, D, 1)))
    with pytest.raises(InputError, match=r"gives 1 numbers an item, and .*\(J, D\), for D = 3"):
        posterior(twin, guide, params, twin.array(X[:, :1].reshape(N, 1, 1)))


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_numbers_of_16_bits_are_refused(twin, kind):
    """A head in these would have gradients that overflow and steps that are lost."""

    def model(x):
        with twin.framework.plate("items", len(x), dim=-1):
            twin.framework.sample("z", twin.dist.Normal(twin.array(0.0), 1.0))

    def short(x):
        if twin.name == "pyro":
            return x.to(getattr(twin.torch, kind))
        return x.astype(getattr(twin.jax.numpy, kind))

    x = twin.array(np.arange(12.0).reshape(6, 2))
    for given, words in (
        ({"encoder": lambda x: x, "features": short}, f"features gives {kind}.*float32"),
        ({"encoder": short}, f"the encoder gives {kind}.*float32"),
    ):
        guide = twin.impl.AutoAmortizedNormal(model, "items", **given)
        with pytest.raises(InputError, match=words):
            first_params(twin, guide, x)


@pytest.mark.parametrize("given", [{"x": 1.0}, [[1.0, 2.0]], None], ids=["dict", "list", "none"])
def test_what_is_no_array_is_refused(twin, given):
    """As the first argument of a model that takes a dictionary, where no features are given."""

    def model(x):
        with twin.framework.plate("items", 6, dim=-1):
            twin.framework.sample("z", twin.dist.Normal(twin.array(0.0), 1.0))

    guide = twin.impl.AutoAmortizedNormal(model, "items", lambda x: x, features=lambda x: given)
    kind = type(given[0] if isinstance(given, list) else given).__name__
    with pytest.raises(InputError, match=f"features gives a {kind}; .* features=lambda data: data"):
        first_params(twin, guide, twin.array(np.ones((6, 2))))
