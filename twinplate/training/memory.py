"""How much of a mini-batch a step can take at once.

A full covariance costs every item several K × K matrices, so that a large K fills the memory long before
the data do. The gradient is a sum over items, so a mini-batch that would take more than its share of the
memory is summed in blocks of items.
"""

from __future__ import annotations

from dataclasses import replace

from twinplate.data.blocks import fitting
from twinplate.programs.config import ProgramConfig, TrainingConfig
from twinplate.training.plan import step_noise_shapes

SHARE = 4  # a step may take a fourth of the memory
# K × K matrices that an item takes, with gradients and temporaries, by encoder. Measured were 2 to 4 for
# perceptrons and 7 to 9.5 for experts, by twin, estimator and missing entries; here are half as many again
# as the most.
MATRICES = {"mlp": 6, "experts": 14}


def items_at_once(program: ProgramConfig, training: TrainingConfig, memory: int) -> int:
    """Items of a mini-batch to take at once on a device with `memory` bytes: all B, or a power of two.

    This depends on the size of the memory and not on what is free just now, so that the same run on the
    same machine sums in the same order.
    """
    k, d, h = program.num_components, program.num_features, program.hidden_width
    numbers = 8 * (k + d + h) * (program.rank + 1 if program.covariance == "low-rank" else 1)
    if program.covariance == "full" or program.encoder == "experts":
        numbers += MATRICES[program.encoder] * k * k
    particles = training.particles if training.vectorize_particles else 1
    item = numbers * particles * (8 if training.precision == "float64" else 4)
    most = fitting(item, training.batch_size, memory // SHARE)
    return most if most == training.batch_size else 1 << (most.bit_length() - 1)


def item_axes(program: ProgramConfig, training: TrainingConfig) -> dict[str, int]:
    """The axis of the items in the base noise (P, ...) of each site, by site name."""
    # The items are on the axis that grows with the mini-batch.
    one, two = (step_noise_shapes(program, replace(training, batch_size=b)) for b in (1, 2))
    return {
        name: 1 + next(axis for axis, size in enumerate(one[name]) if size != two[name][axis])
        for name in one
    }
