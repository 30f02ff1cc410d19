"""How much of a mini-batch a step can take at once.

A full covariance costs every item several K × K matrices, so that a large K fills the memory long before
the data do. The gradient is a sum over items, so a mini-batch that would take more than its share of the
memory is summed in blocks of items.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from twinplate.data.blocks import fitting
from twinplate.programs.config import ProgramConfig, TrainingConfig
from twinplate.training.plan import step_noise_shapes

SHARE = 4  # a step may take a fourth of the memory
# K × K matrices that an item takes, with gradients and temporaries, by encoder. Measured were 2 to 4 for
# perceptrons and 7 to 9.5 for experts, by twin, estimator and missing entries; here are half as many again
# as the most.
MATRICES = {"mlp": 6, "experts": 14}
# Where Linux says how much memory a container may take, in control groups of version 2 and of version 1
GROUPS = "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"
STATUS = "/proc/self/status"


def host_memory() -> int:
    """Bytes of memory of this machine, or of the container that the process may not leave."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for group in GROUPS:
        with suppress(OSError, ValueError):  # no such file, or "max"
            sizes.append(int(Path(group).read_text()))
    return min(sizes)


def peak_memory() -> int:
    """Bytes that this process has had resident at most.

    Read from /proc where there is one. Linux's `getrusage` is wrong for a child process: it starts at the
    size of the process that started the child.
    """
    with suppress(OSError, StopIteration):
        lines = Path(STATUS).read_text().splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM:")))
    import resource  # Windows has no such module

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


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
