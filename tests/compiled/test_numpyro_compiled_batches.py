"""Steps on mini-batches of an iterator are those of `SVI.update` in a loop, compiled once for each shape."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import torch
from jax import random
from numpyro.infer import SVI, Trace_ELBO
from numpyro_runs import adam, assert_same
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from numpyro_impl import CompiledSVI
from twinplate import InputError
from twinplate.training.errors import NonFiniteLossError

pytestmark = pytest.mark.usefixtures("x64", "short_chunks")

N = 23  # nine mini-batches of five of two passes, and twice a shorter one
X = np.random.default_rng(0).normal(size=(N, 2))
Y = X @ [1.0, -2.0] + 0.1 * np.random.default_rng(1).normal(size=N)


def model(x, y, total=N, tag=""):
    slope = numpyro.sample("slope", dist.Normal(jnp.zeros(2), 1.0).to_event(1))
    with numpyro.plate("items", total, subsample_size=len(x)):
        numpyro.sample("y", dist.Normal(x @ slope, 0.1), obs=y)


def guide(x, y, total=N, tag=""):
    loc = numpyro.param("loc", jnp.zeros(2))
    scale = numpyro.param("scale", jnp.ones(2), constraint=dist.constraints.positive)
    numpyro.sample("slope", dist.Normal(loc, scale).to_event(1))


def batches(size=5, passes=2):
    return [(X[i : i + size], Y[i : i + size]) for _ in range(passes) for i in range(0, N, size)]


def by_update(steps):
    svi = SVI(model, guide, adam(), Trace_ELBO())
    state = svi.init(random.key(0), *steps[0])
    update, losses = jax.jit(svi.update), []
    for batch in steps:
        state, loss = update(state, *batch)
        losses.append(loss)
    return svi.get_params(state), state, jnp.stack(losses)


def compiled(program=model, **settings):
    return CompiledSVI(program, guide, adam(), Trace_ELBO(), **settings)


def run(svi, given, **settings):
    return svi.run_batches(random.key(0), given, progress_bar=False, **settings)


def loader():
    return DataLoader(TensorDataset(torch.tensor(X), torch.tensor(Y)), batch_size=5)


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(batches, marks=pytest.mark.slow),
        *(lambda: iter(batches()), lambda: [*loader(), *loader()]),
    ],
)
def test_they_are_those_of_updates_in_a_loop(given):
    svi = compiled()
    found, expected = run(svi, given()), by_update(batches())
    assert_same(found, type(found)(*expected))
    assert found.losses.shape == (10,) and len(svi._loops.kept) == 2


def test_each_pass_goes_on_from_the_one_before():
    svi = compiled()
    half = run(svi, loader())
    assert_same(run(svi, loader(), init_state=half.state).state, by_update(batches())[1])
    assert len(svi._loops.kept) == 2  # compiled in the first pass


def test_the_program_is_traced_once_for_each_shape():
    traces = []

    def counted(x, y, total=N):
        traces.append(x.shape)
        model(x, y, total)

    def count(passes):
        traces.clear()
        run(compiled(counted), batches(5, passes))
        return len(traces)

    assert count(1) == count(4)
    assert set(traces) == {(5, 2), (3, 2)}


def test_what_is_fixed_goes_to_every_step():
    found = run(compiled(), batches(), total=2 * N)
    assert not np.allclose(found.losses, by_update(batches())[2])
    by_hand = [(*batch, 2 * N) for batch in batches()]
    np.testing.assert_allclose(run(compiled(), by_hand).losses, found.losses)


def test_a_fixed_argument_that_the_program_does_not_show_changes_nothing():
    svi = compiled()
    for tag in ("first", "second", "third"):
        told = svi.run(random.key(0), 3, X, Y, tag=tag, total=N, progress_bar=False)
    assert len(svi._loops.kept) == 1
    named = [(*batch, N, f"batch {i}") for i, batch in enumerate(batches()[:2])]
    found = run(compiled(), named)
    assert_same(found.state, by_update(batches()[:2])[1])
    assert told.losses.shape == (3,)


def test_a_loader_may_write_into_the_same_memory_again():
    x, y = np.empty((5, 2)), np.empty(5)

    def read():
        for rows in np.random.default_rng(2).integers(N, size=(9, 5)):
            x[:], y[:] = X[rows], Y[rows]
            yield x, torch.from_numpy(y)

    expected = [(X[r], Y[r]) for r in np.random.default_rng(2).integers(N, size=(9, 5))]
    assert_same(run(compiled(), read()).state, by_update(expected)[1])


def test_a_loader_whose_length_nobody_knows():
    class Endless(IterableDataset):
        def __iter__(self):
            yield from (tuple(map(torch.tensor, batch)) for batch in batches()[:3])

    found = run(compiled(), DataLoader(Endless(), batch_size=None))
    assert_same(found.state, by_update(batches()[:3])[1])


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(OSError("the disk is gone"), marks=pytest.mark.slow),
        KeyboardInterrupt(),
    ],
    ids=repr,
)
def test_where_a_loader_breaks_the_steps_before_it_are_kept(error):
    def read():
        yield from batches()[:6]
        raise error

    with pytest.raises(type(error)) as told:
        run(compiled(), read())
    assert_same(told.value.fit.state, by_update(batches()[:6])[1])
    assert told.value.fit.losses.shape == (6,)

    def stop(done, losses):
        raise error

    with pytest.raises(type(error)) as told:
        run(compiled(), batches(), progress=stop)
    assert_same(told.value.fit.state, by_update(batches()[:4])[1])


def test_a_third_shape_is_told():
    with pytest.warns(UserWarning, match=r"mini-batch 2 .* of a third kind.* shapes \[\(4, 2\)"):
        run(compiled(), [(X[:n], Y[:n]) for n in (6, 5, 4, 3, 3)])


@pytest.mark.parametrize("empty", [[], iter([])])
def test_without_a_mini_batch_there_is_an_error(empty):
    with pytest.raises(InputError, match="no mini-batch; expected at least one"):
        run(compiled(), empty)


def test_where_a_loss_breaks_the_state_before_it_is_kept():
    steps = batches()
    steps[6] = (steps[6][0], np.full(5, np.inf))
    with pytest.raises(NonFiniteLossError, match="at step 6 of 10") as told:
        run(compiled(), steps)
    assert_same(told.value.fit.state, by_update(batches()[:6])[1])
    with pytest.raises(NonFiniteLossError, match=r"at step 6 \(the first is 0\)"):
        run(compiled(), (batch for batch in steps))


@pytest.mark.parametrize("options", [{}, {"clip": 5.0}, {"net": True}])
def test_what_is_on_already_is_not_advised(options):
    svi = CompiledSVI(model, guide, numpyro.optim.SGD(3e-3), Trace_ELBO(), **options)
    steps = [(batches()[0][0], np.full(5, np.inf))]
    with pytest.raises(NonFiniteLossError, match="a lower learning rate, or") as told:
        run(svi, steps)
    assert ("clip=5.0 or net=True" in str(told.value)) == (not options)


def test_steps_that_go_wrong_are_taken_again_on_the_same_mini_batches():
    wild = numpyro.optim.SGD(3e-3)
    svi = CompiledSVI(model, guide, wild, Trace_ELBO(), net=True)
    found = run(svi, batches(passes=8))
    assert np.isfinite(found.losses).all() and "taken again at 1/" in svi.notes[0]
    with pytest.raises(NonFiniteLossError):
        run(CompiledSVI(model, guide, wild, Trace_ELBO()), batches(passes=8))


def test_the_next_ones_are_read_before_the_device_is_waited_for(monkeypatch):
    events = []

    def read():
        for number, batch in enumerate(batches()):
            events.append(number)
            yield batch

    run(compiled(), read(), progress=lambda done, losses: events.append(f"{done} done"))
    assert events == [*range(8), "4 done", 8, 9, "8 done", "10 done"]
    events.clear()
    monkeypatch.setattr("numpyro_impl.compiled.batching.MOST_BYTES", 8 * 5 * 3 + 1)
    run(compiled(), read(), progress=lambda done, losses: events.append(f"{done} done"))
    assert events[:5] == [0, 1, 2, 3, "2 done"]


def test_what_cannot_be_an_argument_is_said():
    with pytest.raises(
        InputError, match="an array of <U1, which JAX cannot hold; expected numbers"
    ):
        run(compiled(), [(X, Y, N, np.array(["a", "b"]))])
    state = run(compiled(), batches()).state
    with pytest.raises(InputError, match="rng_key is None, but this CompiledSVI has taken no step"):
        compiled().run_batches(None, batches(), init_state=state)
