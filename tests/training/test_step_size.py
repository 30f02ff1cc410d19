"""A gradient far from its usual size is cut: by hand, in both twins, and in a run that would break."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest

from twinplate import (
    LinearGaussian,
    NonFiniteLossError,
    ProgramConfig,
    TrainingConfig,
    make_program,
)
from twinplate.training.step_size import CLIP, FAN_IN, MEMORY, rate_shares


def by_hand(gradients, most):
    """(steps, ...) of one tensor, cut; the usual size written out as a mean over all steps before."""
    kept = []
    for n, gradient in enumerate(gradients):
        weights = MEMORY ** np.arange(n - 1, -1, -1)
        squares = np.array([np.square(one).sum() for one in kept])
        usual = np.sqrt(weights @ squares / weights.sum()) if n and squares.any() else np.inf
        kept.append(gradient * min(1.0, most * usual / np.linalg.norm(gradient)))
    return np.array(kept)


def cut(twin, gradients, most, way="cut"):
    """The same by the twin: two tensors, step by step; with the largest sizes that it saw."""
    found = []
    module = twin.module("compiled.clipping")
    steps = list(zip(*gradients, strict=True))
    if twin.name == "pyro":
        import torch

        leaves = [torch.zeros(g.shape[1:], dtype=torch.float64) for g in gradients]
        clip = module.Clip(most)
        found += [getattr(clip, way)(leaves, [torch.tensor(g) for g in step]) for step in steps]
        times, at = clip.largest(leaves).numpy().T
    else:
        sizes = module.Sizes.start(list(steps[0]))
        for step in steps:
            cut, sizes = module.clip(list(step), sizes, most)
            found.append(cut)
        times, at = np.asarray(sizes.largest), np.asarray(sizes.at)
    return [np.array([np.asarray(g) for g in one]) for one in zip(*found, strict=True)], times, at


WAYS = [("pyro", "cut"), ("pyro", "cut_in_graph"), ("numpyro", "cut")]


@pytest.mark.parametrize(("twin", "way"), WAYS, indirect=["twin"])
def test_what_is_cut_is_what_the_formula_says(twin, way):
    rng = np.random.default_rng(0)
    gradients = [rng.normal(size=(60, 4, 3)), 1e-3 * rng.normal(size=(60, 5))]
    gradients[0][30] *= 40
    gradients[1][45] *= 1e30
    gradients[1][0] = 0.0
    found, times, at = cut(twin, gradients, CLIP, way)
    for values, given in zip(found, gradients, strict=True):
        np.testing.assert_allclose(values, by_hand(given, CLIP), rtol=1e-12)
    np.testing.assert_array_equal(
        found[0][:30], gradients[0][:30]
    )  # to the bit where nothing is cut
    assert at.tolist() == [30, 45] and times[0] == pytest.approx(40, rel=0.5) and times[1] > 1e29


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_a_copy_knows_the_sizes_and_keeps_its_own(copied):
    """Python writes the numbers through memory that it shares with them, and a copy must not share."""
    import torch

    from pyro_impl.compiled.clipping import Clip

    leaf, clip = torch.zeros(2, dtype=torch.float64), Clip(CLIP)
    for norm in (3.0, 4.0):
        clip.cut([leaf], [torch.tensor([0.0, norm], dtype=torch.float64)])
    before = clip.of(leaf).clone()
    other_leaf, other = copied((leaf, clip))
    other.cut([other_leaf], [torch.tensor([0.0, 5.0], dtype=torch.float64)])
    mean = MEMORY * (MEMORY * 9 + 16) * (1 - MEMORY) + 25 * (1 - MEMORY)
    assert other.of(other_leaf)[0].item() == pytest.approx(mean, rel=1e-14)
    assert torch.equal(clip.of(leaf), before)


@pytest.mark.parametrize("way", ["cut", "cut_in_graph"])
def test_what_is_not_to_be_cut_is_not(way):
    import torch

    from pyro_impl.compiled.clipping import Clip

    leaves = [torch.zeros(2, dtype=torch.float64) for _ in range(3)]
    clip = Clip(CLIP, leaves[1:2])
    small, large = (
        [torch.full((2,), size, dtype=torch.float64) for _ in leaves] for size in (1.0, 1e3)
    )
    for gradients in (small, small, large):
        found = getattr(clip, way)(leaves, gradients)
    assert [f.tolist() for f in (found[0], found[2])] == [[1e3, 1e3]] * 2
    assert found[1][0].item() == pytest.approx(CLIP)
    assert len(clip.numbers) == 1


def test_a_rare_far_item_keeps_its_pull_on_the_model(twin):
    """One item of 4,000, in every 40th mini-batch. Were its gradient cut, steps would leave the maximum of
    the likelihood for the fit of the other items, by three nats for each in this run."""
    truth = LinearGaussian([[1.0], [-1.0], [0.5], [2.0]], noise_scale=[0.4] * 4)
    x = truth.simulate(4_000, np.random.default_rng(1))[0]
    x[17] *= 100
    program = make_program(x, ProgramConfig(4, 1, hidden_width=16))
    done = twin.impl.fit(x, program, TrainingConfig(400, 100, device="cpu"))
    best = program.start.log_evidence(x).mean()  # the start is the maximum
    assert best - done.generative.log_evidence(x).mean() < 0.02


def test_the_rate_of_a_weight_falls_with_its_inputs():
    x = np.random.default_rng(0).normal(size=(400, 160))
    shares = rate_shares(make_program(x, ProgramConfig(160, 2, hidden_width=256)))
    less = {name: share for name, share in shares.items() if share < 1}
    assert less == {
        "encoder.hidden1.weight": FAN_IN / 160, "encoder.skip.weight": FAN_IN / 160,
        "encoder.hidden2.weight": FAN_IN / 256, "encoder.out.weight": FAN_IN / 256,
    }  # fmt: skip


def test_the_scale_of_a_far_item_is_never_zero(twin):
    """In single precision softplus is zero from -104 on, and its logarithm infinite."""
    numbers = twin.array([-1e5, -200.0, 0.0, 3.0], "float32")
    found = twin.numpy(twin.module("programs.encoder").positive(numbers))
    expected = np.maximum(np.logaddexp(twin.numpy(numbers) + np.log(np.e - 1), 0), 1e-12)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def steps_on_clean_items(twin, most=2_000):
    """Losses and notes of the first steps of a long run that fits two components too many.

    The guide starts near the standard normal. The items are clean and Gaussian; after 1,400 quiet steps one
    of them lies at 16 standard deviations in what the encoder has made of the features.
    """
    rng = np.random.default_rng(0)
    w, a = rng.normal(size=(6, 2)), rng.normal(size=(500, 2))
    rng.normal(size=(500, 6)), rng.random((500, 6)), rng.poisson(np.exp(0.5 * a @ w.T + 1))
    x = rng.normal(size=(100_000, 2)) @ rng.normal(size=(30, 2)).T
    x += 0.5 * rng.normal(size=(100_000, 30))
    training = TrainingConfig(steps=20_000, device="cpu")
    program = replace(make_program(x, ProgramConfig(30, 4)), width=None)
    trainer = twin.impl.Trainer(x, program, training)
    losses = [trainer.run(chunk) for chunk in trainer.plan() if chunk.first < most]
    return np.concatenate(losses), trainer.notes


@pytest.mark.slow
@pytest.mark.parametrize("twin", ["numpyro"], indirect=True)
def test_a_fit_that_a_rare_item_ruined_goes_on(twin, monkeypatch):
    """Beside the same without the clip, the least scale and the net, which is lost before step 2,000."""
    losses, notes = steps_on_clean_items(twin)
    assert np.isfinite(losses).all() and np.median(losses[-100:]) < 28
    assert not any("went wrong" in note for note in notes)
    monkeypatch.setattr("numpyro_impl.training.loop.CLIP", np.inf)
    monkeypatch.setattr("numpyro_impl.programs.encoder.LEAST_POSITIVE", 0.0)
    monkeypatch.setattr("twinplate.training.net.HALVINGS", -1)
    with pytest.raises(NonFiniteLossError):
        steps_on_clean_items(twin)
