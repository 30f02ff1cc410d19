"""What cannot be replayed: run eagerly, with a reason; and what used to be refused and is not."""

from __future__ import annotations

import math
import shutil
from contextlib import nullcontext

import pyro
import pyro.distributions as dist
import pytest
import torch
from compiled_cases import data
from compiled_runs import (
    assert_eager_equals,
    assert_replayed_equals,
    guide,
    losses,
    model_with,
    steps_of,
)
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


def test_values_that_are_checked_are_confirmed_by_every_step():
    def model(x, y):
        slope = pyro.sample("slope", dist.Normal(torch.zeros(()), 1.0, validate_args=True))
        with pyro.plate("items", len(x)):
            pyro.sample("y", dist.Normal(slope * x[:, 0], 1.0, validate_args=True), obs=y)

    assert_replayed_equals(model, 1)


@pytest.mark.filterwarnings("ignore:TraceEnum_ELBO found no sample sites")
@pytest.mark.parametrize(
    "loss",
    [
        TraceEnum_ELBO,
        TraceGraph_ELBO,
        lambda: RenyiELBO(alpha=0.5, num_particles=2),
        lambda: ReweightedWakeSleep(num_particles=3, vectorize_particles=False),
    ],
)
def test_other_losses_are_replayed(loss):
    """Wake-sleep's is a pair."""
    svi = assert_replayed_equals(model_with(lambda *_: 1.0), 1, loss=loss, steps=8)
    again = svi.step(*data())
    assert type(again) is (tuple if "ReweightedWakeSleep" in str(svi.loss) else float)


def test_an_effect_handler_around_the_step_runs_eagerly():
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
    assert found == expected
    assert [step.taken for step in steps_of(svi)] == [6]


def test_a_program_without_parameters_runs_eagerly():
    fixed = lambda x, y: pyro.sample("slope", dist.Normal(0.0, 1.0))
    assert_eager_equals(model_with(lambda *_: 1.0), "no parameters", guide=fixed)


def test_gradients_of_ones_own_are_replayed():
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
        return [svi.step(*data()) for _ in range(8)], svi

    with pytest.warns(FutureWarning, match="num_samples"):
        expected, _ = run(SVI)
    with pytest.warns(FutureWarning):
        found, svi = run(CompiledSVI)
    assert found == expected and svi.num_samples == 5 and len(steps_of(svi)) == 1


def test_hooks_on_gradients_run_eagerly():
    """From the step on in which they are there; each is called once in a step."""
    seen = []

    def each(i):
        if i == 4:
            leaf = pyro.get_param_store()._params["loc"]
            leaf.register_hook(lambda gradient: seen.append(gradient.clone()))

    assert_eager_equals(model_with(lambda *_: 1.0), "a hook", each=each, steps=8)
    assert len(seen) == 2 * 4


def test_a_loss_that_is_not_a_number_is_pyros():
    """Its warning, and parameters that are no numbers from then on, compiled or eager."""

    bad = lambda i: (data()[0], data()[1] * (torch.nan if i == 5 else 1.0))

    def run(kind):
        with pytest.warns(UserWarning, match="Encountered NaN: loss"):
            return losses(kind, model_with(lambda *_: 1.0), steps=12, arguments=bad)[0]

    with pyro.validation_enabled(False):
        expected, found = run(SVI), run(CompiledSVI)
    assert found[:5] == expected[:5]
    assert [math.isnan(loss) for loss in found] == [i >= 5 for i in range(12)]


# On a GPU torch compiles in the first call; elsewhere another process does, whose failures are
# those of test_compiled_in_background.py.
@pytest.mark.parametrize("on_gpu", [pytest.param(False, marks=pytest.mark.slow), True])
def test_without_a_compiler_steps_are_replayed(monkeypatch, tmp_path, on_gpu):
    from torch._inductor import config, cpp_builder

    monkeypatch.setattr("pyro_impl.compiled.compilation._on_gpu", lambda tensors: on_gpu)
    torch._dynamo.reset()
    for function in ("cpp_compiler_search", "get_cpp_compiler", "check_compiler_exist_windows"):
        search = getattr(cpp_builder, function)
        if hasattr(search, "cache_clear"):
            search.cache_clear()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")  # of the process that compiles
    assert shutil.which("no-such-compiler") is None
    with config.patch({"cpp.cxx": ("no-such-compiler",), "fx_graph_cache": False}):
        reason = r"replayed steps, without machine code: .*no C\+\+ compiler; install g\+\+"
        with pytest.warns(EagerWarning, match=reason):
            found, svi = losses(CompiledSVI, model_with(lambda *_: 1.0), machine_code=True)
        assert found == losses(SVI, model_with(lambda *_: 1.0))[0] and len(steps_of(svi)) == 1
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
