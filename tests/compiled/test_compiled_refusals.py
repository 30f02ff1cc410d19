"""What cannot be captured or compiled: run eagerly, with a reason."""

from __future__ import annotations

import math
import shutil
from contextlib import nullcontext

import pyro
import pyro.distributions as dist
import pytest
import torch
from compiled_cases import ITEMS, data
from compiled_runs import assert_eager_equals, guide, losses, model_with
from pyro import poutine
from pyro.infer import (
    SVI,
    RenyiELBO,
    ReweightedWakeSleep,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
)

from pyro_impl import CompiledSVI, EagerWarning
from twinplate.errors import InputError

pytestmark = pytest.mark.usefixtures("own_world")


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
    with pytest.warns(EagerWarning, match=r"test_compiled_refusals.py, line \d+"):
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


def test_a_loss_of_several_numbers_is_returned_as_pyro_returns_it():
    loss = lambda: ReweightedWakeSleep(num_particles=3, vectorize_particles=False)
    model = model_with(lambda *_: 1.0)
    expected, _ = losses(SVI, model, loss=loss, steps=3)
    with pytest.warns(EagerWarning, match="ReweightedWakeSleep is not one of the losses"):
        found, _ = losses(CompiledSVI, model, loss=loss, steps=3)
    assert found == expected and all(type(pair) is tuple for pair in found)


def test_an_effect_handler_around_the_step_runs_eagerly(interpreted):
    """That step alone: before and after it the graph is used."""

    def run(kind):
        pyro.clear_param_store()
        pyro.set_rng_seed(3)
        svi = kind(model_with(lambda *_: 1.0), guide, pyro.optim.Adam({}), Trace_ELBO())
        found = []
        for i in range(10):
            with poutine.scale(scale=2.0) if i in (0, 4) else nullcontext():
                found.append(svi.step(*data()))
        return found, svi

    expected, _ = run(SVI)
    with pytest.warns(EagerWarning, match="effect handler") as caught:
        found, svi = run(CompiledSVI)
    assert len([w for w in caught if w.category is EagerWarning]) == 1
    assert found == pytest.approx(expected, rel=1e-9)
    assert [step.taken for step in svi._steps.values()] == [7]


def test_a_program_without_parameters_runs_eagerly(interpreted):
    fixed = lambda x, y: pyro.sample("slope", dist.Normal(0.0, 1.0))
    assert_eager_equals(model_with(lambda *_: 1.0), "no parameters", guide=fixed)


def test_gradients_of_ones_own_run_eagerly():
    def gradients(model, guide, *args):
        loss = 2 * Trace_ELBO().differentiable_loss(model, guide, *args)
        loss.backward()
        return loss

    def run(kind):
        pyro.clear_param_store()
        pyro.set_rng_seed(3)
        loss = Trace_ELBO().differentiable_loss
        model = model_with(lambda *_: 1.0)
        svi = kind(model, guide, pyro.optim.Adam({}), loss, loss_and_grads=gradients, num_samples=5)
        return [svi.step(*data()) for _ in range(3)], svi.num_samples

    with pytest.warns(FutureWarning, match="num_samples"):
        expected = run(SVI)
    with pytest.warns(EagerWarning, match="`loss_and_grads`"), pytest.warns(FutureWarning):
        assert run(CompiledSVI) == expected


def test_a_loss_that_is_not_a_number_is_pyros(interpreted):
    """Its warning, and parameters that are no numbers from then on, compiled or eager."""

    bad = lambda i: (data()[0], data()[1] * (torch.nan if i == 5 else 1.0))

    def run(kind):
        with pytest.warns(UserWarning, match="Encountered NaN: loss"):
            return losses(kind, model_with(lambda *_: 1.0), steps=12, arguments=bad)[0]

    with pyro.validation_enabled(False):
        expected, found = run(SVI), run(CompiledSVI)
    assert found == pytest.approx(expected, rel=1e-9, nan_ok=True)
    assert [math.isnan(loss) for loss in found] == [i >= 5 for i in range(12)]


@pytest.mark.parametrize("on_gpu", [False, True])  # there torch compiles in the first call
def test_without_a_compiler_it_runs_eagerly(monkeypatch, tmp_path, on_gpu):
    from torch._inductor import config, cpp_builder

    monkeypatch.setattr("pyro_impl.compiled.compilation._on_gpu", lambda tensors: on_gpu)
    torch._dynamo.reset()
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


def test_lbfgs_is_refused():
    with pytest.raises(InputError, match="LBFGS"):
        CompiledSVI(None, None, torch.optim.LBFGS([torch.zeros(1)]), Trace_ELBO())
