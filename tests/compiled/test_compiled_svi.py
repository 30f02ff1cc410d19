"""Steps of CompiledSVI are Pyro's: the same losses, parameters and random numbers, case by case."""

from __future__ import annotations

import copy
import pickle

import pyro
import pyro.distributions as dist
import pytest
import torch
from compiled_cases import CASES
from compiled_runs import steps_of
from pyro.infer import SVI, Trace_ELBO, TraceMeanField_ELBO
from pyro.optim.clipped_adam import ClippedAdam

from pyro_impl import CompiledSVI
from pyro_impl.compiled.steps import CompiledStep, TorchOptim
from pyro_impl.reachable import tensors_of

pytestmark = pytest.mark.usefixtures("own_world")


def adam(lr=0.02):
    return pyro.optim.Adam({"lr": lr})


def run(kind, make, optim=adam, loss=Trace_ELBO, steps=12, hook=None, **options):
    """(losses, parameters and buffers, svi) of a run from one seed."""
    pyro.clear_param_store()
    pyro.set_rng_seed(7)
    model, guide, batches = make()
    svi = kind(model, guide, optim(), loss(), **options)
    losses = []
    for i in range(steps):
        losses.append(svi.step(*batches[i % len(batches)]))
        if hook:
            hook(svi, i)
    state = {n: v.detach().clone() for n, v in pyro.get_param_store().named_parameters()}
    buffers = (b for p in (model, guide) for t in tensors_of(p) for b in [t] if not t.requires_grad)
    state |= {f"tensor {i}": b.clone() for i, b in enumerate(buffers)}
    return losses, state, svi


def assert_same(make, replayed=1, **settings):
    """To the bit."""
    expected, state, _ = run(SVI, make, **settings)
    losses, found, svi = run(CompiledSVI, make, **settings)
    assert sum(step.taken for step in steps_of(svi)) >= replayed
    assert losses == expected and state.keys() == found.keys()
    assert [n for n in state if not torch.equal(found[n], state[n])] == []
    return svi


def assert_close(make, rtol=1e-9, **settings):
    """As machine code, but for rounding."""
    expected, state, _ = run(SVI, make, **settings)
    losses, found, svi = run(CompiledSVI, make, machine_code=True, **settings)
    assert losses == pytest.approx(expected, rel=rtol)
    for name in state:
        torch.testing.assert_close(found[name], state[name], rtol=rtol, atol=rtol, msg=name)
    assert all(isinstance(step, CompiledStep) for step in steps_of(svi))
    return svi


@pytest.mark.parametrize("name", CASES)
def test_each_case_is_pyros(name):
    assert_same(CASES[name], replayed=9 if name != "partial batches" else 2)


@pytest.mark.skipif(
    not hasattr(torch.backends.mkldnn, "matmul"), reason="names that torch 2.6 does not have"
)
def test_with_a_precision_of_products_by_torchs_newer_names(monkeypatch):
    """After which torch's function for all of them raises."""
    monkeypatch.setattr(torch.backends.mkldnn.matmul, "fp32_precision", "bf16")
    with pytest.raises(RuntimeError):
        torch.get_float32_matmul_precision()
    assert_same(CASES["subsampling"], replayed=9)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_each_case_as_machine_code(name):
    assert_close(CASES[name])


@pytest.mark.parametrize("name", ["subsampling", "AutoMultivariateNormal"])
def test_as_the_graph_that_a_compiler_gets(interpreted, name):
    """Indices that a step draws; a triangle."""
    assert_close(CASES[name])


# --- losses and particles -------------------------------------------------------------------------


def particles(vectorised, loss=Trace_ELBO):
    return lambda: loss(num_particles=3, vectorize_particles=vectorised, max_plate_nesting=1)


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("AutoNormal", TraceMeanField_ELBO),
        ("Gamma, Beta, Dirichlet", TraceMeanField_ELBO),
        ("constrained", particles(True)),
        ("constrained", particles(False)),
        ("subsampling", particles(False)),
        ("AutoNormal", particles(True, TraceMeanField_ELBO)),
        ("mask and scale", lambda: lambda m, g, *a: Trace_ELBO().differentiable_loss(m, g, *a)),
    ],
)
@pytest.mark.filterwarnings("ignore:Failed to verify mean field restriction")
@pytest.mark.filterwarnings("ignore::twinplate.WrongLossWarning")  # told, and the same eagerly
@pytest.mark.parametrize("check", [assert_same, pytest.param(assert_close, marks=pytest.mark.slow)])
def test_losses_and_particles(name, loss, check):
    check(CASES[name], loss=loss)


# --- optimisers -----------------------------------------------------------------------------------


def scheduled():
    settings = {"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.05}, "gamma": 0.8}
    return pyro.optim.ExponentialLR(settings)


def one_cycle():
    """It cycles the decay rate of the first moment as well."""
    settings = {"optimizer": torch.optim.Adam, "optim_args": {}, "max_lr": 0.05, "total_steps": 12}
    return pyro.optim.OneCycleLR(settings)


def by_name():
    """The rate depends on the parameter."""
    return pyro.optim.Adam(lambda name: {"lr": 0.05 if "loc" in name else 0.01})


OPTIMISERS = {
    "Adam": (adam, True),
    "decay": (
        lambda: pyro.optim.Adam({"lr": 0.02, "weight_decay": 0.3, "betas": (0.8, 0.9)}),
        True,
    ),
    "by name": (by_name, True),
    "scheduled": (scheduled, True),
    "one cycle": (one_cycle, True),
    "ClippedAdam": (
        lambda: pyro.optim.ClippedAdam({"lr": 0.05, "lrd": 0.9, "clip_norm": 2.0, "eps": 1e-3}),
        True,
    ),
    "centred": (
        lambda: pyro.optim.ClippedAdam({"centered_variance": True, "weight_decay": 0.1}),
        True,
    ),
    "SGD": (lambda: pyro.optim.SGD({"lr": 1e-3, "momentum": 0.5}), False),
    "AdamW": (lambda: pyro.optim.AdamW({"lr": 0.02}), False),
    "amsgrad": (lambda: pyro.optim.Adam({"lr": 0.02, "amsgrad": True}), False),
    "clipped gradients": (lambda: pyro.optim.Adam({"lr": 0.02}, {"clip_norm": 0.5}), False),
    "Adagrad": (lambda: pyro.optim.AdagradRMSProp({}), False),
}


# As machine code by default those whose update is part of the graph.
@pytest.mark.parametrize(
    ("name", "check"),
    [
        *((name, assert_same) for name in OPTIMISERS),
        *(
            pytest.param(name, assert_close, marks=() if whole else pytest.mark.slow)
            for name, (_, whole) in OPTIMISERS.items()
        ),
    ],
)
def test_optimisers(name, check, interpreted):
    optim, whole = OPTIMISERS[name]
    svi = check(
        CASES["constrained"],
        optim=optim,
        hook=lambda svi, i: svi.optim.step() if hasattr(svi.optim, "step") and i % 2 else None,
    )
    (step,) = steps_of(svi)  # a schedule needs no other record
    assert (step.update is not None) == whole and svi._changes == 0


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.SGD, torch.optim.NAdam])
def test_torch_optimisers(kind):
    """Beside a loop of torch's own: loss, backward, step."""

    def program():
        pyro.clear_param_store()
        pyro.set_rng_seed(7)
        model, guide, (batch, *_) = CASES["constrained"]()
        Trace_ELBO().loss(model, guide, *batch)
        optimiser = kind([p for _, p in pyro.get_param_store().named_parameters()], lr=0.01)
        return model, guide, batch, optimiser

    model, guide, batch, optimiser = program()
    expected = []
    for _ in range(10):
        optimiser.zero_grad()
        loss = Trace_ELBO().differentiable_loss(model, guide, *batch)
        loss.backward()
        optimiser.step()
        expected.append(loss.item())
    model, guide, batch, optimiser = program()
    svi = CompiledSVI(model, guide, optimiser, Trace_ELBO())
    assert [svi.step(*batch) for _ in range(10)] == expected and len(steps_of(svi)) == 1


@pytest.mark.parametrize("kind", [torch.optim.Adam, ClippedAdam])
def test_leaves_of_one_group_that_were_trained_for_different_times(kind):
    """A torch optimiser with one group; its rate decays once in a step, not once for each such leaf."""

    def run(make):
        pyro.clear_param_store()
        pyro.set_rng_seed(7)
        model, guide, (batch, *_) = CASES["constrained"]()
        Trace_ELBO().loss(model, guide, *batch)
        leaves = [p for _, p in pyro.get_param_store().named_parameters()]
        optimiser = kind(leaves, lr=0.05, **({"lrd": 0.9} if kind is ClippedAdam else {}))
        leaves[0].grad = torch.ones_like(leaves[0])  # of this one alone
        optimiser.step()
        svi = make(model, guide, optimiser)
        losses = [svi.step(*batch) for _ in range(8)]
        return losses, optimiser.param_groups[0]["lr"]

    expected, rate = run(lambda *program: SVI(*program[:2], TorchOptim(program[2]), Trace_ELBO()))
    losses, found = run(lambda *program: CompiledSVI(*program, Trace_ELBO()))
    assert losses == expected and found == rate


def test_the_state_of_the_optimiser_is_pyros_own():
    """Saved by a compiled run and loaded by an eager one, it goes on as if nothing had happened."""
    whole, _, _ = run(SVI, CASES["constrained"], steps=12)
    first, _, svi = run(CompiledSVI, CASES["constrained"], steps=6)
    optim = adam()
    optim.set_state(svi.optim.get_state())
    rest = SVI(svi.model, svi.guide, optim, Trace_ELBO())
    batch = CASES["constrained"]()[2][0]
    assert first + [rest.step(*batch) for _ in range(6)] == whole


def test_eager_steps_in_between_are_counted():
    """Batches of a shape of their own take eager steps first; the bias corrections know of them."""
    assert_same(CASES["partial batches"], steps=25, replayed=12)


def test_a_graph_holds_no_parameters(interpreted):
    """They are its arguments; held as well, they would be passed twice and compared in every step."""
    _, _, svi = run(CompiledSVI, CASES["pyro.module"], steps=3, machine_code=True)
    (step,) = steps_of(svi)
    assert not [*step.lowered.module.parameters()]


def test_evaluate_loss_is_pyros():
    _, _, svi = run(CompiledSVI, CASES["constrained"], steps=4)
    batch = CASES["constrained"]()[2][0]
    torch.manual_seed(0)
    found = svi.evaluate_loss(*batch)
    torch.manual_seed(0)
    assert found == Trace_ELBO().loss(svi.model, svi.guide, *batch)


# --- over and over --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "drift"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_drift_over_500_steps(dtype, drift):
    torch.set_default_dtype(dtype)
    assert_close(CASES["pyro.module"], rtol=drift, steps=500)


def test_the_same_to_the_bit_when_run_again(interpreted):
    runs = [run(CompiledSVI, CASES["subsampling"], machine_code=True) for _ in range(2)]
    assert runs[0][0] == runs[1][0]


# --- copies ---------------------------------------------------------------------------------------


def model(y):
    with pyro.plate("items", len(y)):
        pyro.sample("y", dist.Normal(pyro.param("mean", torch.tensor(0.5)), 1.0), obs=y)


def guide(y):
    pass


def pickled(svi):
    return pickle.loads(pickle.dumps(svi))


@pytest.mark.parametrize(
    ("copied", "steps"),
    [(copy.deepcopy, 0), (copy.deepcopy, 5), (pickled, 0)],  # later torch pickles no optimiser
)
def test_a_copy_goes_on_as_one_of_pyros(copied, steps):
    def run(kind):
        pyro.clear_param_store()
        svi = kind(model, guide, adam(), Trace_ELBO())
        y = torch.linspace(0, 1, 5)
        before = [svi.step(y) for _ in range(steps)]
        again = copied(svi)
        return before + [again.step(y) for _ in range(6)], again

    expected, _ = run(SVI)
    found, svi = run(CompiledSVI)
    assert found == expected and len(steps_of(svi)) == 1
