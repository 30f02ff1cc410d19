"""Random streams that belong to no framework: one seed, named streams, NumPy generators.

Every stream is keyed by (seed, words): asking for step 1,000 needs none of the steps before it, so a
run can be continued, and both twins can be given the same numbers.
"""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def generator(seed: int, *words: str | int) -> np.random.Generator:
    """The generator of the stream that `words` name."""
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
    first_epoch, last_epoch = start // num_items, (stop - 1) // num_items
    epochs = [
        generator(seed, "epoch", epoch).permutation(num_items)
        for epoch in range(first_epoch, last_epoch + 1)
    ]
    offset = start - first_epoch * num_items
    flat = np.concatenate(epochs)[offset : offset + stop - start]
    return flat.reshape(num_steps, batch_size)


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
