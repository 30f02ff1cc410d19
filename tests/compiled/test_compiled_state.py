"""What Python keeps, and a compiled graph would freeze: captured again, or run eagerly with a reason."""

from __future__ import annotations

import functools
import random
import warnings

import numpy as np
import pytest
import torch
from compiled_cases import ITEMS, regression
from compiled_runs import assert_eager_equals, assert_replayed_equals, losses, model_with
from pyro.infer import SVI, Trace_ELBO, TraceMeanField_ELBO
from pyro.infer.autoguide import AutoNormal
from torch import nn

from pyro_impl import CompiledSVI, EagerWarning
from pyro_impl.compiled.guards import Guards

pytestmark = pytest.mark.usefixtures("own_world")

WEIGHT = 1.0  # a global that `weighted` reads


def test_a_counter_in_the_program_runs_eagerly():
    count = {"runs": 0}

    def density(slope, x):
        count["runs"] += 1
        return 1.0 + 0.1 * count["runs"]

    assert_eager_equals(
        model_with(density), "changes .* as it runs", restart=lambda: count.update(runs=0), steps=4
    )


def test_an_attribute_that_the_program_changes_runs_eagerly():
    class Annealed:
        def __init__(self):
            self.temperature = 2.0

        def __call__(self, slope, x):
            self.temperature *= 0.9
            return self.temperature

    density = Annealed()
    assert_eager_equals(
        model_with(density),
        "changes `Annealed.temperature` as it runs",
        restart=lambda: setattr(density, "temperature", 2.0),
    )


def test_a_list_that_the_program_appends_to_runs_eagerly_and_holds_no_phantoms():
    seen = []

    def density(slope, x):
        seen.append(slope)
        return 1.0

    reason = "changes `seen` in the closure of .*, a list of .* as it runs"
    assert_eager_equals(model_with(density), reason, restart=seen.clear)
    assert all(type(s) is torch.Tensor for s in seen)


@pytest.mark.parametrize("draw", [random.random, np.random.rand], ids=["python", "numpy"])
def test_random_numbers_of_others_run_eagerly(draw):
    def restart():
        random.seed(0)
        np.random.seed(0)

    assert_eager_equals(
        model_with(lambda *_: 1.0 + draw()), "Python's or NumPy's random numbers", restart, steps=2
    )


GENERATORS = {
    "torch": (torch.Generator, lambda g: torch.rand((), generator=g)),
    "NumPy": (np.random.default_rng, lambda g: g.random()),
    "older NumPy": (np.random.RandomState, lambda g: g.rand()),
    "Python": (random.Random, lambda g: g.random()),
}


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("read", [lambda t: 1.0, lambda t: abs(float(t))], ids=["", "refused"])
def test_a_generator_of_ones_own_draws_what_it_draws_for_pyro(name, read):
    """A step that could not be recorded is as if it had not been tried."""
    make, draw = GENERATORS[name]
    held = []

    def restart():
        held[:] = [make()]
        if name == "torch":
            held[0].manual_seed(3)
        elif name == "NumPy":
            held[0] = np.random.default_rng(3)
        else:
            held[0].seed(3)

    density = lambda slope, x: draw(held[0]) + read(slope.detach())
    reason = "a generator of its own" if read(1.0) == read(-2.0) else "value of a tensor"
    assert_eager_equals(model_with(density), reason, restart)


def test_a_scripted_module_runs_eagerly():
    """Its attributes are not Python's: no look finds them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, and used
        layer = torch.jit.script(nn.Dropout(0.1))

    def each(i):
        layer.train(i % 2 == 0)

    density = lambda slope, x: 1.0 + layer(x[:, 0]).abs()
    assert_eager_equals(model_with(density), "torch.jit.* the module itself", each=each)


class Fit:
    """As many write them: model and course of the fit in one object."""

    def __init__(self):
        self.course = {"losses": []}

    def density(self, slope, x):
        return 1.0


def test_a_list_that_grows_between_steps_is_named_by_its_place():
    fit = Fit()
    model = model_with(lambda slope, x: fit.density(slope, x))
    told = (
        r"changed 8 times, last entry 'losses' of a dict, a list of \d+ entries that now has \d+; .*"
        "where the program does not read it, keep it in another object"
    )
    assert_eager_equals(
        model,
        told,
        fit.course["losses"].clear,
        each=lambda i: fit.course["losses"].append(i),
        steps=30,
    )


def weighted(slope, x):
    return 1.0 + WEIGHT


def change_global(step):
    global WEIGHT
    WEIGHT = 1.0 if step < 3 else 2.0


class Holder:
    scale = 1.0


def changing_places():
    """(density, change(i)): from step 3 on the density is another one."""
    held = [1.0]
    cell = 1.0
    tensor = torch.tensor(1.0)
    owner = Holder()
    layer = nn.Dropout(0.1)

    def in_list(i):
        held[0] = 1.0 if i < 3 else 2.0

    def in_cell(i):
        nonlocal cell
        cell = 1.0 if i < 3 else 2.0

    def rebound(i):
        nonlocal tensor
        if i in (0, 3):
            tensor = torch.tensor(1.0 if i < 3 else 2.0)

    def in_object(i):
        owner.scale = 1.0 if i < 3 else 2.0

    def in_class(i):
        Holder.scale = 1.0 if i < 3 else 2.0

    def in_layer(i):
        layer.p = 0.1 if i < 3 else 0.6

    def mode(i):
        layer.train(i < 3)

    return {
        "global": (weighted, change_global),
        "list": (lambda *_: held[0], in_list),
        "closure": (lambda *_: cell, in_cell),
        "rebound tensor": (lambda *_: tensor, rebound),
        "attribute": (lambda *_: owner.scale, in_object),
        "class attribute": (lambda *_: Holder.scale, in_class),
        "partial": (functools.partial(lambda held, *_: held[0], held), in_list),
        "dropout rate": (lambda slope, x: 1.0 + layer(x[:, 0]).abs(), in_layer),
        "training mode": (lambda slope, x: 1.0 + layer(x[:, 0]).abs(), mode),
    }


@pytest.mark.parametrize("name", changing_places())
def test_what_changes_between_steps_is_captured_again(name):
    density, change = changing_places()[name]
    assert_replayed_equals(model_with(density), 1, each=change, steps=8)


def test_what_is_written_into_a_tensor_in_place_is_seen_without_another_graph():
    for small_or_large in (torch.ones(()), torch.ones(ITEMS)):

        def each(i, held=small_or_large):
            held.fill_(1.0 + 0.1 * i)

        density = lambda *_, held=small_or_large: held
        assert_replayed_equals(model_with(density), 1, each=each)


def test_what_changes_at_every_step_runs_eagerly():
    held = [1.0]

    def each(i):
        held[0] = 1.0 + 0.1 * i

    assert_eager_equals(
        model_with(lambda *_: held[0]), r"changed 8 times, last .*as a tensor", each=each, steps=30
    )


def test_what_cannot_be_seen_is_found_by_comparison():
    """A number in an array that is changed in place: no guard sees it, the loss of an eager step does."""
    held = np.ones(1)

    def each(i):
        held[0] = 1.0 if i < 6 else 3.0

    model = model_with(lambda *_: float(held[0]))
    expected, _ = losses(SVI, model, each=each, steps=20)
    with pytest.warns(
        EagerWarning, match=r"agreed 4 steps before: those since may have been wrong"
    ):
        found, svi = losses(CompiledSVI, model, each=each, steps=20)
    assert found[:6] == expected[:6] and svi._eager


def test_guards_see_nothing_where_nothing_changes():
    guards = Guards(regression, AutoNormal(regression), Trace_ELBO())
    assert guards.change() is None
    assert isinstance(TraceMeanField_ELBO(), Trace_ELBO)
