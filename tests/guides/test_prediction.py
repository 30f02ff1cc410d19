"""`predict`: every item's latents go with its own data, whatever the mini-batch."""

from __future__ import annotations

import numpy as np
import pytest
from guide_runs import first_params, native, set_params
from twins import both_twins

from twinplate import InputError

X = 10.0 * np.arange(7.0)


def _programs(twin, dim):
    """A shift of all items, and a location of each: in the posterior x + shift, nearly without noise."""
    f, d = twin.framework, twin.dist

    def model(x, batch_size=None):
        shift = f.sample("shift", d.Normal(twin.array(0.0), 1.0))
        with f.plate("items", len(x), batch_size, dim=dim) as index:
            z = f.sample("z", d.Normal(twin.array(0.0), 100.0))
            own = x[index].reshape(-1, *(1,) * (-dim - 1))
            f.sample("x", d.Normal(z - shift, 1e-6), obs=own)

    def guide(x, batch_size=None):
        shift = f.sample("shift", d.Normal(twin.array(0.0), 1.0))
        with f.plate("items", len(x), batch_size, dim=dim) as index:
            own = x[index].reshape(-1, *(1,) * (-dim - 1))
            f.sample("z", d.Normal(own + shift, 1e-6))

    return model, guide


def _predict(twin, model, guide, *args, **kwargs):
    given = () if twin.name == "pyro" else (twin.jax.random.key(0), {})
    draws = twin.impl.predict(*given, model, guide, *args, num_samples=3, **kwargs)
    return {name: twin.numpy(values) for name, values in draws.items()}


@both_twins(
    "items, batch_size, dim",
    [(*sizes, dim) for sizes in ((7, None), (7, 3), (1, None)) for dim in (-1, -2)],
    quick=[(7, None, -2), (7, 3, -1), (1, None, -2)],
)
def test_latents_and_data_are_of_one_item(twin, dim, items, batch_size):
    model, guide = _programs(twin, dim)
    draws = _predict(twin, model, guide, twin.array(X[:items]), batch_size, plate="items")
    expected = np.broadcast_to(X[:items], (3, items)).reshape(3, items, *(1,) * (-dim - 1))
    shift = draws["shift"].reshape(3, *(1,) * -dim)
    np.testing.assert_allclose(draws["x"], expected, atol=1e-4)
    np.testing.assert_allclose(draws["z"], expected + shift, atol=1e-4)
    assert len({float(s) for s in draws["shift"]}) == 3


def test_a_seed_gives_the_same_draws_for_blocks_of_the_same_size(twin):
    """As the docstring says; of another size, other draws of the last items at least."""
    f, d = twin.framework, twin.dist

    def program(x, batch_size=None):
        with f.plate("items", len(x), batch_size):
            f.sample("z", d.Normal(twin.array(0.0), 1.0))

    def draws(batch_size):
        if twin.name == "pyro":
            f.set_rng_seed(0)
        return _predict(twin, program, program, twin.array(X), batch_size, plate="items")["z"]

    np.testing.assert_array_equal(draws(3), draws(3))
    assert np.abs(draws(3) - draws(2))[:, -1].min() > 1e-3


def test_a_plate_that_is_not_there_is_refused(twin):
    model, guide = _programs(twin, -1)
    with pytest.raises(InputError, match="no plate 'rows'"):
        _predict(twin, model, guide, twin.array(X), plate="rows")


def test_parameters_that_are_missing_are_not_made_from_the_new_items(twin):
    """As center and spread of the automatic guide would be; the store is left as it was."""
    f, d = twin.framework, twin.dist

    def model(x):
        with f.plate("items", len(x), dim=-1):
            z = f.sample("z", d.Normal(twin.array(0.0), 1.0))
            f.sample("x", d.Normal(z, 1.0), obs=x[:, 0])

    def encoder(x):
        return x

    guide = twin.impl.AutoAmortizedNormal(model, "items", encoder)
    x = twin.array(np.stack([X, X**2], 1))
    params = first_params(twin, guide, x)
    given = () if twin.name == "pyro" else (twin.jax.random.key(0),)

    def draws():
        now = () if twin.name == "pyro" else (native(twin, params),)
        return twin.impl.predict(*given, *now, model, guide, x, plate="items", num_samples=2)

    assert tuple(draws()["z"].shape) == (2, 7)
    for missing in ("auto_spread", "auto_head_bias"):
        del params[missing]
        if twin.name == "pyro":
            del f.get_param_store()[missing]
        with pytest.raises(InputError, match=f"there is no parameter '{missing}'.*train first"):
            draws()
        if twin.name == "pyro":
            assert missing not in f.get_param_store()
        params[missing] = np.ones(2)
        set_params(twin, params)
