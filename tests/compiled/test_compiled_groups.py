"""CompiledSVI in several processes, each on a mini-batch of its own: beside one process on all of them."""

from __future__ import annotations

import shutil
import warnings

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from process_groups import in_group
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoNormal

from pyro_impl import CompiledSVI
from pyro_impl.compiled.errors import EagerWarning
from twinplate import InputError
from twinplate.commands.doctor_command import COMPILERS

STEPS, N = 20, 40


def data(seed=0):
    x = np.random.default_rng(seed).normal(2.0, 1.0, (N, 3)).clip(max=3.9)
    x[2, 0] = 5.0  # in the second mini-batch of rank 0
    return torch.from_numpy(x)


def regression(x):
    """A global latent, the items scaled to N."""
    mean = pyro.sample("mean", dist.Normal(x.new_zeros(3), 1.0).to_event(1))
    with pyro.plate("items", N, subsample=torch.arange(len(x))):
        pyro.sample("x", dist.Normal(mean, 1.0).to_event(1), obs=x)


def amortised(x):
    """A latent of each item."""
    with pyro.plate("items", N, subsample=torch.arange(len(x))):
        z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
        weights = pyro.param("weights", lambda: torch.randn(2, 3, dtype=x.dtype))
        pyro.sample("x", dist.Normal(z @ weights, 1.0).to_event(1), obs=x)


class Encoder(torch.nn.Module):
    """The posterior's mode, without a draw; its first values are those of torch's generator."""

    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(3, 2)

    def forward(self, x):
        pyro.module("encoder", self.net)
        with pyro.plate("items", N, subsample=torch.arange(len(x))):
            pyro.sample("z", dist.Delta(self.net(x), event_dim=1))


def no_guide(x):
    """All that is learned is in the model."""


def at_times(x):
    """A parameter that is met where an item is large, once it is there: by one process, every second step."""
    scale = pyro.param("scale", x.new_zeros(()))
    large = x > 4
    offset = x.new_zeros(())
    if large.any() or "offset" not in known():
        offset = pyro.param("offset", x.new_zeros(()))
    with pyro.plate("items", N, subsample=torch.arange(len(x))):
        normal = dist.Normal(2.0 + offset * large, scale.exp())
        pyro.sample("x", normal.to_event(1), obs=x)


def used_at_times(x):
    """The same parameter, met always and used where an item is large; such steps are replayed."""
    scale, offset = (pyro.param(name, x.new_zeros(())) for name in ("scale", "offset"))
    large = x > 4
    mean = 2.0 + offset * large if large.any() else x.new_full((), 2.0)
    with pyro.plate("items", N, subsample=torch.arange(len(x))):
        pyro.sample("x", dist.Normal(mean.expand(x.shape), scale.exp()).to_event(1), obs=x)


def known():
    return pyro.get_param_store()


def taken(svi, x, each_seed=0):
    """The losses of steps on mini-batches of x, and the parameters after them."""
    losses = []
    for i in range(STEPS):
        torch.manual_seed(each_seed + i)
        losses.append(svi.step(x[i % 2 :: 2]))
    return losses, {name: value.detach() for name, value in known().items()}


PROGRAMS = {
    "autoguide": (regression, lambda: AutoNormal(regression, init_scale=0.5), {}),
    "cut and kept": (regression, lambda: AutoNormal(regression), {"clip": 0.3, "net": True}),
    "amortised": (amortised, Encoder, {}),
    "at times": (at_times, lambda: no_guide, {}),
    "used at times": (used_at_times, lambda: no_guide, {}),
}


def trained(group, name, x, seed, **more):
    """By a group, or one process alone."""
    model, guide, options = PROGRAMS[name]
    with known().scope({"params": {}, "constraints": {}}):
        torch.manual_seed(seed)
        optim = pyro.optim.Adam({"lr": 0.05})
        svi = CompiledSVI(model, guide(), optim, Trace_ELBO(), group=group, **options, **more)
        return taken(svi, x)


def all_trained(group, x):
    """Each process has every second mini-batch's half, and other random numbers before the first step."""
    torch.set_default_dtype(torch.float64)  # as `own_world` has it
    rank = torch.distributed.get_rank(group)
    return {name: trained(group, name, x[rank::2], rank) for name in PROGRAMS}


def interleaved(x):
    """So that the mini-batch of one process is those of two together."""
    return x.reshape(N // 4, 2, 2, 3).transpose(1, 2).reshape(N, 3)


@pytest.mark.filterwarnings("ignore")
def test_a_group_on_its_mini_batches_is_one_process_on_all_of_them(own_world):
    x = data()
    found = in_group(2, all_trained, x)
    for name in PROGRAMS:
        losses, params = found[0][name]
        expected = trained(None, name, interleaved(x), 0)
        np.testing.assert_allclose(losses, expected[0], rtol=1e-12, err_msg=name)
        assert found[1][name][0] == losses and losses[0] != losses[-1]
        for site, value in expected[1].items():
            assert torch.equal(params[site], found[1][name][1][site]), (name, site)
            torch.testing.assert_close(params[site], value, rtol=1e-12, atol=1e-14)


def compiled_in_a_group(group, x):
    torch.set_default_dtype(torch.float64)
    warnings.simplefilter("error", EagerWarning)  # of steps that are not compiled
    rank = torch.distributed.get_rank(group)
    return trained(group, "amortised", x[rank::2], rank, machine_code=True)


@pytest.mark.slow  # each process has C++ compiled
@pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="no C++ compiler")
def test_machine_code_of_a_group_is_one_process_too(own_world):
    x = data()
    (losses, params), (others, _) = in_group(2, compiled_in_a_group, x)
    expected = trained(None, "amortised", interleaved(x), 0)
    np.testing.assert_allclose(losses, expected[0], rtol=1e-12)
    assert others == losses
    for site, value in expected[1].items():
        torch.testing.assert_close(params[site], value, rtol=1e-12, atol=1e-14)


def subsampled(x):
    """The program chooses the items itself."""
    mean = pyro.param("mean", x.new_zeros(3))
    with pyro.plate("items", len(x), subsample_size=7) as chosen:
        pyro.sample("x", dist.Normal(mean, 1.0).to_event(1), obs=x[chosen])


def of_both(model, guide, halves):
    """What the group's two processes compute, with the same random numbers for each of them."""
    state = torch.get_rng_state()
    first = Trace_ELBO().differentiable_loss(model, guide, halves[0])
    torch.set_rng_state(state)
    return (first + Trace_ELBO().differentiable_loss(model, guide, halves[1])) / 2


def with_subsampling(group, x):
    """Each process with its own half of the data."""
    mine = x[torch.distributed.get_rank(group) :: 2]
    svi = CompiledSVI(
        subsampled, no_guide, pyro.optim.Adam({"lr": 0.05}), Trace_ELBO(), group=group
    )
    return steps(svi, mine)


def steps(svi, x):
    found = []
    for i in range(STEPS):
        torch.manual_seed(i)
        found.append(svi.step(x))
    return found


def refused(group, x):
    """What is said where parameters are others on rank 1, from the start and later."""
    rank, said = torch.distributed.get_rank(group), []

    def wider(x):
        pyro.factor("fit", -pyro.param("mean", x.new_ones(3 - rank, 1)).square().sum())

    def one_more(x):
        if rank and x.sum() > 0:
            pyro.param("own", x.new_zeros(()))
        pyro.factor("fit", -(pyro.param("mean", x.new_zeros(())) - x.sum()).square())

    for model, given in ((wider, (x,)), (one_more, (-x, -x, -x, x))):
        optim = pyro.optim.Adam({"lr": 0.05})
        svi = CompiledSVI(model, no_guide, optim, Trace_ELBO(), group=group)
        with known().scope({"params": {}, "constraints": {}}):
            for one in given[:-1]:
                svi.step(one)
            with pytest.raises(InputError) as raised:
                svi.step(given[-1])
        said.append(str(raised.value))
    return said


def test_each_process_chooses_from_its_own_items(own_world):
    x = data()
    first, second = in_group(2, with_subsampling, x)
    svi = SVI(subsampled, no_guide, pyro.optim.Adam({"lr": 0.05}), of_both)
    np.testing.assert_allclose(first, steps(svi, (x[::2], x[1::2])), rtol=1e-12)
    assert first == second


def test_a_process_with_other_parameters_is_named_in_all():
    first, second = in_group(2, refused, data())
    assert first == second
    assert "rank 1 are not those of rank 0: it has 'mean' of shape (2, 1) and type" in first[0]
    assert "rank 1 are not those of rank 0: it has 'own' besides" in first[1]
