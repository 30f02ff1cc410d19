"""Steps that a record cannot take: an argument that Pyro refuses, a tensor that became another one."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from compiled_cases import ITEMS
from compiled_runs import steps_of
from pyro.infer import SVI, Trace_ELBO
from torch import nn

from pyro_impl import CompiledSVI, EagerWarning

pytestmark = pytest.mark.usefixtures("own_world")

AT = 6  # a replayed step that is not compared


def losses(kind, model, arguments, steps=14):
    """Losses of all steps, or what was raised in place of one; the generator's state in the end; the SVI."""
    pyro.clear_param_store()
    pyro.set_rng_seed(3)
    svi = kind(model, guide, pyro.optim.Adam({"lr": 0.02}), Trace_ELBO())
    found = []
    for i in range(steps):
        try:
            found.append(svi.step(*arguments(i)))
        except Exception as error:
            found.append(f"{type(error).__name__}: {error}")
    return found, torch.get_rng_state(), svi


def guide(x, *others):
    loc = pyro.param("loc", torch.zeros(3))
    pyro.sample("slopes", dist.Normal(loc, 0.1).to_event(1))


def classes(x, labels):
    slopes = pyro.sample("slopes", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    with pyro.plate("items", len(x)):
        pyro.sample("label", dist.Categorical(logits=x[:, None] * slopes), obs=labels)


def numbers(x, y):
    slopes = pyro.sample("slopes", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    with pyro.plate("items", len(x)):
        pyro.sample("y", dist.Normal(x * slopes.sum(), 1.0), obs=y)


def out_of_range(i):
    return X, torch.arange(ITEMS) % 3 + (i == AT)


def nan(i):
    return X, torch.where(10 * (i != AT) - 0.5 < X, torch.nan, X)


X = torch.linspace(-1.0, 1.0, ITEMS, dtype=torch.float64)


@pytest.mark.parametrize(("model", "arguments"), [(classes, out_of_range), (numbers, nan)])
def test_what_pyro_refuses_is_refused_in_pyros_words_and_the_run_goes_on(model, arguments):
    """The step that fails leaves no trace: no number is drawn, no parameter moved, no record lost."""
    expected, state, _ = losses(SVI, model, arguments)
    found, end, svi = losses(CompiledSVI, model, arguments)
    assert "at site" in expected[AT] and "within the support" in expected[AT]
    assert found == expected and torch.equal(end, state)
    assert [step.taken for step in steps_of(svi)] == [11]


def test_a_loss_that_is_not_a_number_in_pyro_either_is_counted_once():
    """An average that the step writes into, too."""
    norm = nn.BatchNorm1d(1, momentum=0.5)

    def model(x, y):
        return numbers(norm(x[:, None]).squeeze(-1), y)

    def run(kind):
        norm.reset_running_stats()
        with pyro.validation_enabled(False), pytest.warns(UserWarning, match="Encountered NaN"):
            found, state, _ = losses(kind, model, nan, steps=AT + 1)
        return found[:AT], norm.running_var.clone(), state

    (expected, average, state), (found, ours, end) = run(SVI), run(CompiledSVI)
    assert found == expected and torch.equal(ours, average) and torch.equal(end, state)


def of_another_size():
    """A tensor that the model holds is replaced from within."""
    held = torch.linspace(-1.0, 1.0, ITEMS)

    def arguments(i):
        held.data = torch.linspace(-1.0, 1.0, ITEMS if i < AT else 5)
        return (None, None)

    return (lambda *_: numbers(held, held.sin())), arguments


def test_where_only_the_record_fails_it_is_made_anew():
    expected, state, _ = losses(SVI, *of_another_size())
    found, end, svi = losses(CompiledSVI, *of_another_size())
    assert found == expected and torch.equal(end, state) and all(type(f) is float for f in found)
    assert any(step.taken for step in steps_of(svi))


def test_a_conjugate_that_is_yet_to_be_computed_runs_eagerly():
    z = torch.complex(X, X.cos())
    run = lambda: ((lambda z, y: numbers(z.imag, y)), lambda i: (z if i < AT else z.conj(), X))
    expected, state, _ = losses(SVI, *run())
    with pytest.warns(EagerWarning, match=r"conjugate .* give `x.resolve_conj\(\)"):
        found, end, _ = losses(CompiledSVI, *run())
    assert found == expected and torch.equal(end, state)
