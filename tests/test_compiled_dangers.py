"""What a compiled graph would freeze, or get wrong in silence: re-captured, or run eagerly with a reason."""

from __future__ import annotations

import functools
import random
import shutil

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from compiled_cases import (
    ITEMS,
    batches,
    data,
    encoder_decoder,
    pyro_module,
    regression,
)
from pyro import poutine
from pyro.infer import (
    SVI,
    RenyiELBO,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
)
from pyro.infer.autoguide import AutoNormal
from torch import nn

from pyro_impl import CompiledSVI, EagerWarning
from pyro_impl.guards import Guards
from twinplate.errors import InputError

pytestmark = pytest.mark.usefixtures("own_world")

WEIGHT = 1.0  # a global that `weighted` reads


def guide(x, y):
    loc = pyro.param("loc", torch.tensor(0.1))
    scale = pyro.param("scale", torch.tensor(0.5), constraint=dist.constraints.positive)
    pyro.sample("slope", dist.Normal(loc, scale))


def model_with(density):
    """`density(slope, x)` gives the scale of the observations."""

    def model(x, y):
        slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
        scale = density(slope, x)
        with pyro.plate("items", len(x)):
            pyro.sample("y", dist.Normal(slope * x[:, 0], scale), obs=y)

    return model


def losses(kind, model, steps=6, guide=guide, each=None, loss=Trace_ELBO, arguments=None):
    pyro.clear_param_store()
    pyro.set_rng_seed(3)
    svi = kind(model, guide, pyro.optim.Adam({"lr": 0.02}), loss())
    found = []
    for i in range(steps):
        if each:
            each(i)
        found.append(svi.step(*(arguments(i) if arguments else batches(ITEMS)[0])))
    return found, svi


def assert_eager_equals(model, reason, restart=lambda: None, **settings):
    """With one warning that says why, and the losses of the eager program."""
    restart()
    expected, _ = losses(SVI, model, **settings)
    restart()
    with pytest.warns(EagerWarning, match=reason) as caught:
        found, svi = losses(CompiledSVI, model, **settings)
    assert len([w for w in caught if w.category is EagerWarning]) == 1
    assert found == pytest.approx(expected, rel=1e-9) and svi._eager


def assert_compiled_equals(model, graphs, restart=lambda: None, **settings):
    restart()
    expected, _ = losses(SVI, model, **settings)
    restart()
    found, svi = losses(CompiledSVI, model, **settings)
    assert found == pytest.approx(expected, rel=1e-9)
    assert len(svi._steps) == graphs


# --- control flow and numbers that depend on tensors ----------------------------------------------


@pytest.mark.parametrize(
    "density",
    [
        lambda slope, x: 1.0 if slope > 0 else 2.0,
        lambda slope, x: 1.0 + abs(slope.item()),
        lambda slope, x: 0.5 + len(x[x[:, 0] > slope]) / ITEMS,
        lambda slope, x: torch.tensor(1.0 + slope.detach().numpy() ** 2),
    ],
    ids=["if", "float", "selection", "numpy"],
)
def test_a_number_that_depends_on_a_draw_runs_eagerly(interpreted, density):
    assert_eager_equals(model_with(density), "value of a tensor|cannot be traced")


def test_the_reason_names_the_line(interpreted):
    with pytest.warns(EagerWarning, match=r"test_compiled_dangers.py, line \d+"):
        losses(CompiledSVI, model_with(lambda slope, x: 1.0 if slope > 0 else 2.0))


def test_validated_arguments_run_eagerly(interpreted):
    def model(x, y):
        slope = pyro.sample("slope", dist.Normal(torch.zeros(()), 1.0, validate_args=True))
        with pyro.plate("items", len(x)):
            pyro.sample("y", dist.Normal(slope * x[:, 0], 1.0), obs=y)

    assert_eager_equals(model, "remove validate_args=True")


@pytest.mark.filterwarnings("ignore:TraceEnum_ELBO found no sample sites")
@pytest.mark.parametrize(
    "loss", [TraceEnum_ELBO, TraceGraph_ELBO, lambda: RenyiELBO(alpha=0.5, num_particles=2)]
)
def test_other_losses_run_eagerly(loss):
    assert_eager_equals(model_with(lambda *_: 1.0), "not one of the losses", loss=loss)


# --- what Python keeps ----------------------------------------------------------------------------


def test_a_counter_in_the_program_runs_eagerly(interpreted):
    count = {"runs": 0}

    def density(slope, x):
        count["runs"] += 1
        return 1.0 + 0.1 * count["runs"]

    assert_eager_equals(
        model_with(density), "changes .* as it runs", restart=lambda: count.update(runs=0), steps=4
    )


def test_an_attribute_that_the_program_changes_runs_eagerly(interpreted):
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


def test_a_list_that_the_program_appends_to_runs_eagerly_and_holds_no_phantoms(interpreted):
    seen = []

    def density(slope, x):
        seen.append(slope)
        return 1.0

    assert_eager_equals(model_with(density), "changes a list .* as it runs", restart=seen.clear)
    assert all(type(s) is torch.Tensor for s in seen)


@pytest.mark.parametrize("draw", [random.random, np.random.rand], ids=["python", "numpy"])
def test_random_numbers_of_others_run_eagerly(interpreted, draw):
    def restart():
        random.seed(0)
        np.random.seed(0)

    assert_eager_equals(
        model_with(lambda *_: 1.0 + draw()), "Python's or NumPy's random numbers", restart, steps=2
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
def test_what_changes_between_steps_is_captured_again(interpreted, name):
    density, change = changing_places()[name]
    assert_compiled_equals(model_with(density), 1, each=change, steps=8)


def test_what_is_written_into_a_tensor_in_place_is_seen_without_another_graph(interpreted):
    for small_or_large in (torch.ones(()), torch.ones(ITEMS)):

        def each(i, held=small_or_large):
            held.fill_(1.0 + 0.1 * i)

        density = lambda *_, held=small_or_large: held
        assert_compiled_equals(model_with(density), 1, each=each)


def test_what_changes_at_every_step_runs_eagerly(interpreted):
    held = [1.0]

    def each(i):
        held[0] = 1.0 + 0.1 * i

    assert_eager_equals(
        model_with(lambda *_: held[0]), r"changed 8 times, last .*as a tensor", each=each, steps=30
    )


def test_a_number_as_an_argument_that_changes_at_every_step_runs_eagerly(interpreted):
    def model(x, y, scale):
        model_with(lambda *_: scale)(x, y)

    x, y = data()
    with pytest.warns(EagerWarning, match="16 different shapes or values"):
        found, svi = losses(
            CompiledSVI,
            model,
            steps=20,
            guide=lambda x, y, scale: guide(x, y),
            arguments=lambda i: (x, y, 1.0 + 0.1 * i),
        )
    assert not svi._steps and len(found) == 20


def test_what_cannot_be_seen_is_found_by_comparison(interpreted):
    """A number in an array that is changed in place: no guard sees it, the loss of an eager step does."""
    held = np.ones(1)

    def each(i):
        held[0] = 1.0 if i < 6 else 3.0

    model = model_with(lambda *_: float(held[0]))
    expected, _ = losses(SVI, model, each=each, steps=20)
    with pytest.warns(EagerWarning, match=r"some of its last 4 steps may have been wrong"):
        found, svi = losses(CompiledSVI, model, each=each, steps=20)
    assert found[:6] == pytest.approx(expected[:6]) and svi._eager


def test_an_effect_handler_around_the_step_runs_eagerly(interpreted):
    pyro.clear_param_store()
    svi = CompiledSVI(model_with(lambda *_: 1.0), guide, pyro.optim.Adam({}), Trace_ELBO())
    with poutine.scale(scale=2.0), pytest.warns(EagerWarning, match="effect handler"):
        svi.step(*data())


# --- shapes ---------------------------------------------------------------------------------------


def test_a_batch_of_one_is_not_broadcast(interpreted):
    x, y = data()
    sizes = [8, 8, 8, 1, 1, 1, 8, 1]
    assert_compiled_equals(
        model_with(lambda *_: 1.0), 2, steps=8, arguments=lambda i: (x[: sizes[i]], y[: sizes[i]])
    )


def test_types_and_plain_values_have_graphs_of_their_own(interpreted):
    def model(x, y, power):
        model_with(lambda *_: 1.0 + power)(x.to(y.dtype), y)

    x, y = data()
    kinds = [(x, y, 1), (x, y, 2), (x.float(), y, 1), (x, y, True), (x.mT.contiguous().mT, y, 1)]
    settings = {"guide": lambda x, y, power: guide(x, y), "steps": 20}
    assert_compiled_equals(model, 5, arguments=lambda i: kinds[i % 5], **settings)


@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        (np.ones(3), "numpy.ndarray"),
        (torch.ones(3, requires_grad=True), "requires a gradient"),
        (torch.eye(3).to_sparse(), "is sparse"),
        (object(), "builtins.object"),
    ],
)
def test_arguments_that_are_no_plain_values_run_eagerly(interpreted, argument, reason):
    model = lambda x, y, other: model_with(lambda *_: 1.0)(x, y)
    assert_eager_equals(
        model, reason, guide=lambda x, y, _: guide(x, y), arguments=lambda i: (*data(), argument)
    )


# --- parameters -----------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["clear", "assign", "delete", "scope state"])
def test_parameters_replaced_in_the_store_are_captured_again(interpreted, change):
    store = pyro.get_param_store()

    def each(i):
        if i != 3:
            return
        if change == "clear":
            pyro.clear_param_store()
        elif change == "assign":
            store["scale"] = torch.tensor(2.0)
        elif change == "delete":
            del store["loc"]
        else:
            state = store.get_state()
            new = {n: p.detach().clone().requires_grad_() for n, p in state["params"].items()}
            store.set_state({**state, "params": new})

    assert_compiled_equals(model_with(lambda *_: 1.0), 1, each=each, steps=8)


def test_a_parameter_that_appears_later_runs_eagerly(interpreted):
    held = {"late": False}

    def late_guide(x, y):
        loc = pyro.param("loc", torch.tensor(0.1))
        if held["late"]:
            loc = loc + pyro.param("shift", torch.tensor(0.0))
        pyro.sample("slope", dist.Normal(loc, 0.5))

    def each(i):
        held["late"] = i >= 3

    assert_compiled_equals(model_with(lambda *_: 1.0), 1, guide=late_guide, each=each, steps=8)


def test_a_module_whose_weights_are_replaced_is_captured_again(interpreted):
    def run(kind):
        pyro.clear_param_store()
        pyro.set_rng_seed(3)
        model, guide, (batch, *_) = pyro_module()
        svi = kind(model, guide, pyro.optim.Adam({"lr": 0.02}), Trace_ELBO())
        found = []
        for i in range(8):
            if i == 4:
                guide.loc.data = guide.loc.data + 1.0  # another storage, the same leaf
            found.append(svi.step(*batch))
        return found

    assert run(CompiledSVI) == pytest.approx(run(SVI), rel=1e-9)


def test_capturing_leaves_buffers_and_parameters_alone(interpreted):
    """Batch norm counts its batches: as often compiled as eagerly, and the checks count for nothing."""

    def run(kind):
        pyro.clear_param_store()
        pyro.set_rng_seed(3)
        model, guide, (batch, *_) = encoder_decoder(lambda: nn.BatchNorm1d(3))()
        svi = kind(model, guide, pyro.optim.Adam({"lr": 0.02}), Trace_ELBO())
        for _ in range(9):
            svi.step(*batch)
        return next(
            c.cell_contents[0]
            for c in guide.__closure__
            if isinstance(c.cell_contents, nn.Sequential)
        )

    expected, found = run(SVI), run(CompiledSVI)
    assert found.num_batches_tracked == expected.num_batches_tracked == 9
    torch.testing.assert_close(found.running_mean, expected.running_mean)
    torch.testing.assert_close(found.running_var, expected.running_var)


# --- the compiler ---------------------------------------------------------------------------------


def test_without_a_compiler_it_runs_eagerly(monkeypatch, tmp_path):
    from torch._inductor import config, cpp_builder

    for function in ("cpp_compiler_search", "get_cpp_compiler", "check_compiler_exist_windows"):
        search = getattr(cpp_builder, function)
        if hasattr(search, "cache_clear"):
            search.cache_clear()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    assert shutil.which("no-such-compiler") is None
    with config.patch({"cpp.cxx": ("no-such-compiler",), "fx_graph_cache": False}):
        assert_eager_equals(model_with(lambda *_: 1.0), "no C\\+\\+ compiler; install g\\+\\+")
    for function in ("cpp_compiler_search", "get_cpp_compiler"):
        search = getattr(cpp_builder, function)
        if hasattr(search, "cache_clear"):
            search.cache_clear()


def test_a_torch_optimiser_without_the_parameters_is_refused():
    stray = torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    svi = CompiledSVI(model_with(lambda *_: 1.0), guide, stray, Trace_ELBO())
    with pytest.raises(InputError, match="does not hold the parameters loc, scale"):
        svi.step(*data())


def test_guards_see_nothing_where_nothing_changes():
    guards = Guards(regression, AutoNormal(regression), Trace_ELBO())
    assert guards.change() is None
    assert isinstance(TraceMeanField_ELBO(), Trace_ELBO)
