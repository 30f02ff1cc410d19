"""What the automatic guide refuses, and what it says."""

from __future__ import annotations

import numpy as np
import pytest
from guide_runs import first_params, posterior

from twinplate import InputError

X = np.random.default_rng(0).normal(size=(6, 3))


def _model(twin, latent):
    """A model with the latent sites of `latent(framework, distributions, plate of items)`."""

    def model(x, batch_size=None):
        plate = twin.framework.plate("mini_batch", len(x), batch_size, dim=-1)
        latent(twin.framework, twin.dist, plate, twin)

    return model


def _normal(f, d, plate, twin, name="z"):
    with plate:
        f.sample(name, d.Normal(twin.array(0.0), 1.0))


def _discrete(f, d, plate, twin):
    with plate:
        f.sample("z", d.Poisson(twin.array(1.0)))


def _sphere(f, d, plate, twin):
    with plate:
        f.sample("z", d.ProjectedNormal(twin.array(np.ones(3))))


def _masked(f, d, plate, twin):
    with plate:
        known = twin.array(np.arange(6.0)) < 3
        f.sample("z", d.Normal(twin.array(0.0), 1.0).mask(known))


def _neither_known_nor_latent(f, d, plate, twin):
    values = twin.array(np.arange(6.0))
    mask = f.poutine.mask if twin.name == "pyro" else f.handlers.mask
    with plate, mask(mask=values < 5):
        f.sample("z", d.Normal(twin.array(0.0), 1.0), obs=values, obs_mask=values < 3)


def _bounds_of_items(f, d, plate, twin):
    with plate:
        f.sample("z", d.Uniform(twin.array(np.zeros(6)), twin.array(np.arange(1.0, 7.0))))


def _bounds_of_a_latent(f, d, plate, twin):
    top = f.sample("top", d.Uniform(twin.array(1.0), twin.array(2.0)))
    with plate:
        f.sample("z", d.Uniform(twin.array(0.0), top))


def _dim_without_plate(f, d, plate, twin):
    with plate:
        f.sample("z", d.Normal(twin.array(np.zeros((4, 1))), 1.0))


def _subsampled_inside(f, d, plate, twin):
    with plate, f.plate("parts", 5, 2, dim=-2):
        f.sample("z", d.Normal(twin.array(0.0), 1.0))


REFUSED = {
    "another plate": (
        _normal,
        {"plate": "batch"},
        "no plate 'batch' around a site; it has 'mini_b",
    ),
    "discrete": (_discrete, {}, "'z' is discrete.*TraceEnum_ELBO"),
    "no bijection": (_sphere, {}, "'z' has support .*no bijection"),
    "masked": (_masked, {}, "'z' is masked"),
    "neither known nor latent": (_neither_known_nor_latent, {}, "'z_unobserved' is masked"),
    "bounds of items": (_bounds_of_items, {}, "other bounds in other entries"),
    "bounds of a latent": (_bounds_of_a_latent, {}, "support of site 'z' depends on other sites"),
    "a dim without plate": (_dim_without_plate, {}, r"no plate around it is at dim=-2"),
    "subsampled inside": (_subsampled_inside, {}, "subsampled to 2 of 5"),
    "one item for six": (
        _normal,
        {"features": lambda x: x[:1]},
        "gives 1 item, and plate .* has 6",
    ),
    "no vector": (_normal, {"encoder": lambda x: x[:, 0]}, r"shape \(6,\) for 6 items; expected"),
    "not finite": (
        _normal,
        {"encoder": lambda x: x / (x - x[4:5])},
        "not finite, first for item 4",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore:.*divide|invalid value")
def test_what_cannot_be_right_is_refused(twin, name):
    latent, given, words = REFUSED[name]
    arguments = {"plate": "mini_batch", "encoder": lambda x: x, **given}
    guide = twin.impl.AutoAmortizedNormal(_model(twin, latent), **arguments)
    with pytest.raises(InputError, match=words):
        first_params(twin, guide, twin.array(X))


def test_a_structure_that_changes_is_refused(twin):
    runs = iter(range(100))

    def latent(f, d, plate, twin):
        _normal(f, d, plate, twin, name=f"z{next(runs) % 2}")

    guide = twin.impl.AutoAmortizedNormal(_model(twin, latent), "mini_batch", lambda x: x)
    with pytest.raises(InputError, match="in some runs of the model only"):
        first_params(twin, guide, twin.array(X))


def test_parameters_of_items_need_to_know_which_items_these_are(twin):
    """The caller's own mini-batch is refused, and so are new items."""

    def model(x, size=6):
        with twin.framework.plate("mini_batch", size, len(x), dim=-1):
            twin.framework.sample("z", twin.dist.Normal(twin.array(0.0), 1.0))

    guide = twin.impl.AutoAmortizedNormal(model, "mini_batch")
    with pytest.raises(InputError, match=r"each of the 6 items .* 2 items without saying which"):
        first_params(twin, guide, twin.array(X[:2]))
    params = first_params(twin, guide, twin.array(X))
    assert params["auto_item_loc"].shape == (6, 1)
    with pytest.raises(InputError, match="rows for 6 items, and the plate has 1"):
        posterior(twin, guide, params, twin.array(X[:1]), size=1)


@pytest.mark.parametrize(
    ("given", "words"),
    [({"covariance": "spherical"}, "expected one of full"), ({"rank": 2}, '"low_rank" alone')],
)
def test_an_unknown_covariance_is_refused_at_once(twin, given, words):
    with pytest.raises(InputError, match=words):
        twin.impl.AutoAmortizedNormal(lambda x: None, "mini_batch", **given)


def test_two_guides_of_one_prefix_do_not_share_parameters_in_silence(own_world):
    import torch
    from pyro import distributions as dist
    from pyro import plate, sample

    from pyro_impl import AutoAmortizedNormal

    def model(x):
        with plate("mini_batch", len(x)):
            sample("z", dist.Normal(torch.zeros(()), 1.0))

    x = torch.tensor(X)
    first, second, third = (
        AutoAmortizedNormal(model, "mini_batch", lambda x: x, prefix=prefix)
        for prefix in ("auto", "auto", "other")
    )
    first(x), third(x), first(x)
    with pytest.raises(InputError, match="of another automatic guide with prefix 'auto'"):
        second(x)


def test_indices_that_the_model_is_given_are_those_of_create_plates(own_world):
    import pyro
    import torch

    from pyro_impl import AutoAmortizedNormal

    def model(x, index):
        with pyro.plate("mini_batch", len(x), subsample=index, dim=-1):
            pyro.sample("z", pyro.distributions.Normal(torch.zeros(()), 1.0))

    x, index = torch.tensor(X), torch.tensor([4, 1])
    guide = AutoAmortizedNormal(model, "mini_batch", lambda x: x)
    with pytest.raises(InputError, match="gives plate 'mini_batch' its indices"):
        guide(x, index)

    seen = []

    def plates(x, index):
        return pyro.plate("mini_batch", len(x), subsample=index, dim=-1)

    def encoder(x):
        seen.append(x)
        return x

    guide = AutoAmortizedNormal(model, "mini_batch", encoder, create_plates=plates, prefix="given")
    guide(x, index)
    store = pyro.get_param_store()
    assert torch.equal(seen[0], (x[index] - store["given_center"]) / store["given_spread"])
