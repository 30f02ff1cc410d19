"""Random streams: keyed, not consumed in order; mini-batches that cut endless permutations."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from scipy import stats

from twinplate.seeds import base_noise, base_noise_chunk, batch_indices, generator, permuted

WORDS = st.one_of(st.text("abcdefgh_", min_size=1, max_size=6), st.integers(0, 10**9))
KEYS = st.lists(WORDS, min_size=1, max_size=3).map(tuple)
SHAPES = {"a_aux": (5, 3), "amplitude": (5,), "scalar": ()}


def draws(*key) -> list[float]:
    return generator(*key).random(4).tolist()


@settings(deadline=None)
@given(seed=st.integers(0, 2**70), key=KEYS, other=KEYS)
def test_a_stream_belongs_to_its_key_and_to_nothing_else(seed, key, other):
    expected = draws(seed, *key)
    generator(seed, *other).random(17)  # another stream, another order: no difference
    assert draws(seed, *key) == expected
    assert draws(seed + 1, *key) != expected
    assert draws(seed, *key, 0) != expected
    if other != key:
        assert draws(seed, *other) != expected


def test_many_keys_give_many_streams():
    """Neighbouring words, steps and seeds: 4 x 200 x 5 streams, no first draw twice."""
    words = ("noise", "epoch", "initial", "torch")
    keys = [(seed, w, step) for seed in range(5) for w in words for step in range(200)]
    assert len({generator(*key).integers(2**63) for key in keys}) == len(keys)


def test_streams_are_uniform_and_uncorrelated():
    """Kolmogorov-Smirnov over 20,000 first draws, and neighbours: fails by chance with 2e-6."""
    first = np.array([generator(0, "noise", "a", step).random() for step in range(20_000)])
    assert stats.kstest(first, "uniform").pvalue > 1e-6
    assert stats.pearsonr(first[1:], first[:-1]).pvalue > 1e-6


# ------------------------------------------------------------------------------------ mini-batches

SIZES = st.integers(1, 12).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n)))


@settings(deadline=None)
@given(
    sizes=SIZES,
    seed=st.integers(0, 99),
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    skipped=st.integers(0, 40),
)
def test_any_split_into_chunks_gives_the_same_batches(sizes, seed, lengths, skipped):
    num_items, batch_size = sizes
    total = skipped + sum(lengths)
    whole = batch_indices(seed, 0, total, num_items, batch_size)
    assert whole.shape == (total, batch_size) and whole.dtype == np.int64
    starts = skipped + np.cumsum([0, *lengths[:-1]])
    parts = [
        batch_indices(seed, int(start), length, num_items, batch_size)
        for start, length in zip(starts, lengths, strict=True)
    ]
    np.testing.assert_array_equal(np.concatenate(parts), whole[skipped:])


@settings(deadline=None)
@given(sizes=SIZES, seed=st.integers(0, 99), first_epoch=st.integers(0, 5))
def test_every_item_is_seen_equally_often(sizes, seed, first_epoch):
    """B epochs are N steps, whatever B and N; each epoch holds every item once."""
    num_items, batch_size = sizes
    start = first_epoch * num_items  # in steps: after first_epoch · B whole epochs
    epochs = batch_indices(seed, start, num_items, num_items, batch_size).reshape(-1, num_items)
    assert len(epochs) == batch_size
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(num_items), (batch_size, 1)))


def test_full_batches_are_permutations_and_single_items_take_turns():
    full = batch_indices(3, 0, 5, 50, 50)
    assert len({tuple(row) for row in full}) == 5
    np.testing.assert_array_equal(np.sort(full), np.tile(np.arange(50), (5, 1)))
    single = batch_indices(3, 0, 250, 50, 1)
    np.testing.assert_array_equal(single.reshape(5, 50), full)
    np.testing.assert_array_equal(batch_indices(0, 7, 3, 1, 1), np.zeros((3, 1)))


def test_seeds_give_different_orders():
    assert len({tuple(batch_indices(seed, 0, 1, 50, 50)[0]) for seed in range(100)}) == 100


def test_an_item_stands_at_every_place_equally_often():
    """χ² over item × place of 3,000 epochs of 6 items; fails by chance with probability 1e-6."""
    epochs = batch_indices(0, 0, 3000, 6, 6)
    counts = np.stack([np.bincount(epochs[:, place], minlength=6) for place in range(6)])
    statistic = np.sum((counts - 500) ** 2) / 500 * 5 / 6  # permutations: (n - 1)² degrees
    assert stats.chi2.sf(statistic, 25) > 1e-6


@pytest.mark.parametrize("num_items", [1, 2, 3, 5, 64, 65, 1000, 2**17 + 1])
def test_a_permutation_by_places_holds_every_item_once(num_items):
    items = permuted(3, 1, num_items, 0, num_items)
    np.testing.assert_array_equal(np.sort(items), np.arange(num_items))
    low, high = num_items // 3, num_items - num_items // 4
    np.testing.assert_array_equal(permuted(3, 1, num_items, low, high), items[low:high])
    if num_items > 60:
        for other in (
            permuted(4, 1, num_items, 0, num_items),
            permuted(3, 2, num_items, 0, num_items),
        ):
            assert np.mean(other == items) < 0.1


def test_permutations_by_places_are_uniform_and_without_trend():
    """χ² of item × place over 3,000 epochs, and the rank correlations of neighbours and of places."""
    epochs = np.stack([permuted(0, epoch, 6, 0, 6) for epoch in range(3000)])
    counts = np.stack([np.bincount(epochs[:, place], minlength=6) for place in range(6)])
    statistic = np.sum((counts - 500) ** 2) / 500 * 5 / 6
    assert stats.chi2.sf(statistic, 25) > 1e-6
    items = permuted(0, 0, 100_000, 0, 100_000)
    for other in (np.roll(items, 1), np.roll(items, 2), np.arange(100_000)):
        assert abs(np.corrcoef(items, other)[0, 1]) < 5 / np.sqrt(100_000)


def test_large_epochs_are_cut_like_small_ones(monkeypatch):
    """Batches across the end of an epoch, and no list of all items is ever made."""
    monkeypatch.setattr("twinplate.seeds.SHUFFLED", 20)
    monkeypatch.setattr("twinplate.seeds._shuffled", None)
    whole = batch_indices(1, 0, 21, 21, 8)
    np.testing.assert_array_equal(np.sort(whole.reshape(8, 21)), np.tile(np.arange(21), (8, 1)))
    np.testing.assert_array_equal(batch_indices(1, 5, 9, 21, 8), whole[5:14])
    assert len({tuple(epoch) for epoch in whole.reshape(8, 21)}) == 8


def test_chunks_of_an_epoch_share_its_shuffle():
    """Shuffled once for all chunks that cut it, not once for each."""
    from twinplate import seeds

    seeds._shuffled.cache_clear()
    parts = [batch_indices(9, start, 5, 1000, 10) for start in range(0, 100, 5)]
    assert seeds._shuffled.cache_info().misses == 1
    assert len(np.unique(np.concatenate(parts))) == 1000


# -------------------------------------------------------------------------------------- base noise


def test_noise_has_the_shapes_asked_for():
    noise = base_noise(0, 3, SHAPES, particles=2)
    assert {name: v.shape for name, v in noise.items()} == {
        "a_aux": (2, 5, 3),
        "amplitude": (2, 5),
        "scalar": (2,),
    }
    assert all(v.dtype == np.float64 for v in noise.values())
    assert base_noise(0, 3, SHAPES)["scalar"].shape == (1,)


def test_noise_is_keyed_by_seed_site_and_step():
    shapes = {"a": (4,), "b": (4,)}
    streams = [
        tuple(values.ravel())
        for seed in (0, 1)
        for step in (0, 1, 2)
        for values in base_noise(seed, step, shapes).values()
    ]
    assert len({first for first, *_ in streams}) == 2 * 3 * 2
    alone = base_noise(1, 2, {"b": (4,)})["b"]
    np.testing.assert_array_equal(alone, base_noise(1, 2, shapes)["b"])
    reordered = base_noise(1, 2, dict(reversed(shapes.items())))
    np.testing.assert_array_equal(alone, reordered["b"])


@pytest.mark.parametrize("particles", [1, 3])
def test_a_chunk_of_noise_is_its_steps_stacked(particles):
    chunk = base_noise_chunk(5, 7, 4, SHAPES, particles)
    assert list(chunk) == list(SHAPES)
    for name, shape in SHAPES.items():
        assert chunk[name].shape == (4, particles, *shape)
        for i in range(4):
            expected = base_noise(5, 7 + i, SHAPES, particles)[name]
            np.testing.assert_array_equal(chunk[name][i], expected)
    assert base_noise_chunk(5, 7, 4, {}) == {}


def test_noise_is_standard_normal_and_independent():
    """Kolmogorov-Smirnov and correlations of steps, particles and sites: 4e-6 to fail by chance."""
    chunk = base_noise_chunk(0, 0, 100, {"a": (50, 4), "b": (50, 4)}, particles=2)
    a, b = chunk["a"], chunk["b"]
    assert stats.kstest(a.ravel(), "norm").pvalue > 1e-6
    for left, right in ((a, b), (a[1:], a[:-1]), (a[:, 0], a[:, 1])):
        assert stats.pearsonr(left.ravel(), right.ravel()).pvalue > 1e-6
