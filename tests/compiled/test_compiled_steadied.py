"""`clip` and `net` of CompiledSVI, in both twins: a rare burst, and a rate that is far too high.

The program is y ~ Normal(exp(w x), 1) with one parameter w and an empty guide, so that the stock optimiser
written out in NumPy is three lines.
"""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest

from twinplate.training.step_size import MEMORY

X = np.array([0.5, 1.0, 1.5])
QUIET = np.exp(0.3 * X) + np.array([0.1, -0.1, 0.1])
RARE = QUIET + np.array([0.0, 0.0, 1e6])
STREAM = [*[QUIET] * 30, RARE, *[QUIET] * 60]


def descent(stream, rate, most=np.inf):
    """w after every step of stochastic gradient descent, each gradient at most `most` times as usual."""
    w, square, weight, course = 0.0, 0.0, 0.0, []
    with np.errstate(all="ignore"):
        for y in stream:
            gradient = np.sum((np.exp(w * X) - y) * X * np.exp(w * X))
            usual = np.sqrt(square / weight) if square else np.inf
            gradient *= min(1.0, most * usual / abs(gradient))
            square = MEMORY * square + (1 - MEMORY) * gradient**2
            weight = MEMORY * weight + 1 - MEMORY
            w -= rate * gradient
            course.append(w)
    return np.array(course)


class Run:
    """Steps of the twin's CompiledSVI on a stream of `y`."""

    def __init__(self, twin, optim="SGD", rate=1e-2, **options):
        frame, x = twin.framework, twin.array(X)
        elbo = frame.infer.Trace_ELBO()

        def model(y):
            w = frame.param("w", twin.array(np.zeros(1)))
            frame.sample("y", twin.dist.Normal(np.e ** (w * x), 1.0).to_event(1), obs=y)

        if twin.name == "pyro":
            frame.clear_param_store()
            frame.param("w", twin.array(np.zeros(1)))
        make = getattr(frame.optim, optim)
        optim = make({"lr": rate}) if twin.name == "pyro" else make(rate)
        self.svi = twin.impl.CompiledSVI(model, lambda y: None, optim, elbo, **options)
        self.twin, self.state = twin, None

    def take(self, stream):
        """w at the end, and the losses."""
        if self.twin.name == "pyro":
            losses = [self.svi.step(self.twin.array(y)) for y in stream]
            return float(self.twin.framework.param("w").detach()), np.array(losses)
        import jax

        losses = []
        for y, group in groupby(stream, key=tuple):
            key, steps = jax.random.key(0), len(list(group))
            found = self.svi.run(key, steps, np.array(y), init_state=self.state, progress_bar=False)
            self.state = found.state
            losses.append(found.losses)
        return float(found.params["w"][0]), np.concatenate(losses)


def test_a_rare_burst_breaks_the_stock_steps_and_not_those_that_are_cut(
    twin, interpreted, own_world
):
    assert not np.isfinite(descent(STREAM, 1e-2)[-1])
    expected = descent(STREAM, 1e-2, most=5.0)
    w, losses = Run(twin, clip=5.0).take(STREAM)
    assert w == pytest.approx(expected[-1], rel=1e-10) and np.isfinite(losses).all()
    quiet = descent(STREAM[:30] + STREAM[31:], 1e-2)[-1]
    assert w == pytest.approx(quiet, abs=1e-3)


@pytest.mark.filterwarnings("ignore:CompiledSVI runs eagerly")  # the graph's nan is Pyro's inf
def test_steps_at_a_rate_that_is_too_high_are_taken_again_at_half_of_it(
    twin, interpreted, own_world
):
    """Until they are those of a lower rate from the start; stock steps are not finite."""
    stream, rate = [QUIET] * 100, 2000.0
    assert not np.isfinite(descent(stream, rate)[-1])
    run = Run(twin, rate=rate, net=True)
    w, _ = run.take(stream)
    (note,) = run.svi.notes
    (halved,) = (n for n in range(1, 6) if f"1/{2**n} of their learning rate" in note)
    assert np.isfinite(w) and w == pytest.approx(descent(stream, rate / 2**halved)[-1], rel=1e-8)
    assert not np.isfinite(descent(stream, 2 * rate / 2**halved)[-1])


@pytest.mark.parametrize("options", [{"net": True}, {"clip": 1e9}, {"clip": 1e9, "net": True}])
def test_a_run_that_needs_neither_is_the_same(twin, interpreted, own_world, options):
    """To the bit in Pyro; XLA may fuse other steps otherwise, which rounds the last digit otherwise."""
    stream = [*[QUIET] * 60, *[QUIET + 0.1] * 60]
    expected = Run(twin, optim="Adam").take(stream)
    run = Run(twin, optim="Adam", **options)
    found = run.take(stream)
    rtol = 0.0 if twin.name == "pyro" else 4 * np.finfo(float).eps
    np.testing.assert_allclose(found[0], expected[0], rtol=rtol)
    np.testing.assert_allclose(found[1], expected[1], rtol=rtol)
    assert not run.svi.notes


@pytest.fixture
def bounded():
    """Steps of Pyro on y ~ Normal(w, 1), whose mean is not a number where w is beyond 0.5."""
    import pyro
    import torch

    pyro.clear_param_store()
    pyro.param("w", torch.zeros(()))

    def model(y):
        w = pyro.param("w")
        mean = torch.where(w > 0.5, torch.full_like(w, torch.nan), w)
        with pyro.plate("items", len(y)):
            pyro.sample("y", pyro.distributions.Normal(mean, 1.0), obs=y)

    from pyro_impl import CompiledSVI

    optim, elbo = pyro.optim.SGD({"lr": 0.3}), pyro.infer.Trace_ELBO()
    return CompiledSVI(model, lambda y: None, optim, elbo, net=True)


def test_an_argument_that_pyro_refuses_is_caught_by_the_net(bounded):
    """The second step goes to w = 0.576; the third is compared with Pyro's own, which checks the mean."""
    import pyro
    import torch

    losses = [bounded.step(torch.full((3,), y)) for y in (0.4, 0.6, *[0.4] * 38)]
    assert np.isfinite(losses).all()
    assert pyro.param("w").item() == pytest.approx(0.4, abs=1e-4)
    (note,) = bounded.notes
    assert "the loss is nan at step 2" in note


def test_what_no_rate_mends_is_raised(bounded):
    import torch

    bounded.step(torch.full((3,), 0.1))
    with pytest.raises(ValueError, match="invalid values"):
        bounded.step(torch.tensor([0.1, torch.nan, 0.1]))
