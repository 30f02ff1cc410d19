"""Random streams that belong to no framework: one seed, named streams, NumPy generators.

Every stream is keyed by (seed, words): asking for step 1,000 needs none of the steps before it, so a
run can be continued, and both twins can be given the same numbers.
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from numbers import Integral

import numpy as np
import numpy.typing as npt

from twinplate.errors import InputError

Array = npt.NDArray[np.float64]

SHUFFLED = 2**20  # more items than this are permuted place by place: a shuffle must hold them all
FEISTEL_ROUNDS = 8  # of the Feistel network


def generator(seed: int, *words: str | int) -> np.random.Generator:
    """The generator of the stream that `words` name.

    Raises InputError for a seed that is no whole number, or below 0.
    """
    if not isinstance(seed, Integral) or seed < 0:
        raise InputError(f"seed is {seed!r}; expected a whole number, 0 or more")
    key = tuple(zlib.crc32(w.encode()) if isinstance(w, str) else w for w in words)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))


def batch_indices(
    seed: int, first_step: int, num_steps: int, num_items: int, batch_size: int
) -> npt.NDArray[np.int64]:
    """Items of the mini-batches of `num_steps` steps from `first_step` on, (num_steps, batch_size).

    The batches cut an endless sequence of permutations of all items into pieces of equal size, so
    every item is seen equally often and no partial batch needs another shape.
    """
    start, stop = first_step * batch_size, (first_step + num_steps) * batch_size
    pieces = []
    for epoch in range(start // num_items, (stop - 1) // num_items + 1):
        first = epoch * num_items
        low, high = max(start - first, 0), min(stop - first, num_items)
        if num_items > SHUFFLED:
            pieces.append(permuted(seed, epoch, num_items, low, high))
        else:
            pieces.append(_shuffled(seed, epoch, num_items)[low:high])
    return np.concatenate(pieces).reshape(num_steps, batch_size)


@lru_cache(maxsize=2)  # consecutive chunks share an epoch
def _shuffled(seed: int, epoch: int, num_items: int) -> npt.NDArray[np.int64]:
    items = generator(seed, "epoch", epoch).permutation(num_items)
    items.setflags(write=False)
    return items


def permuted(seed: int, epoch: int, num_items: int, start: int, stop: int) -> npt.NDArray[np.int64]:
    """Places `start` to `stop` of a permutation of `num_items` items that is never held as a whole.

    A Feistel network on the bits of the place, each round adding a keyed mixture of one part to the
    other, permutes the numbers below a power of two; a place that leads outside is walked on until it
    is inside (Black and Rogaway, *Ciphers with arbitrary finite domains*, 2002, sections 4 and 5).
    """
    keys = generator(seed, "places", epoch).integers(2**64, size=FEISTEL_ROUNDS, dtype=np.uint64)
    bits = max(2, (num_items - 1).bit_length())
    items = _feistel(np.arange(start, stop, dtype=np.uint64), bits, keys)
    while (outside := items >= num_items).any():
        items[outside] = _feistel(items[outside], bits, keys)
    return items.astype(np.int64)


def _feistel(
    values: npt.NDArray[np.uint64], bits: int, keys: npt.NDArray[np.uint64]
) -> npt.NDArray[np.uint64]:
    low = np.uint64(bits // 2)
    masks = np.uint64(2 ** (bits - bits // 2) - 1), np.uint64(2 ** (bits // 2) - 1)
    left, right = values >> low, values & masks[1]
    for i in range(0, len(keys), 2):
        left = left ^ (_mixed(right + keys[i]) & masks[0])
        right = right ^ (_mixed(left + keys[i + 1]) & masks[1])
    return (left << low) | right


def _mixed(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    # The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): every bit depends on every other.
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def base_noise(
    seed: int, step: int, shapes: dict[str, tuple[int, ...]], particles: int = 1
) -> dict[str, Array]:
    """Standard normal noise of one step for each site of `shapes`: arrays (particles, *shape)."""
    return {
        name: generator(seed, "noise", name, step).standard_normal((particles, *shape))
        for name, shape in shapes.items()
    }


def base_noise_chunk(
    seed: int,
    first_step: int,
    num_steps: int,
    shapes: dict[str, tuple[int, ...]],
    particles: int = 1,
) -> dict[str, Array]:
    """`base_noise` of consecutive steps, stacked: arrays (num_steps, particles, *shape)."""
    steps = [
        base_noise(seed, step, shapes, particles)
        for step in range(first_step, first_step + num_steps)
    ]
    return {name: np.stack([noise[name] for noise in steps]) for name in shapes}
