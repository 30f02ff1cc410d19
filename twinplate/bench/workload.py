"""What the benchmarks train: linear-Gaussian data with correlated loadings, in four sizes.

The guide is the auxiliary one with a full covariance, unless a program says otherwise; data are
complete; Adam at a constant rate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from twinplate.programs.config import ProgramConfig
from twinplate.programs.linear_gaussian import Array, LinearGaussian
from twinplate.programs.parameters import initial_params, noise_shapes
from twinplate.programs.positive import UNIT_SHIFT
from twinplate.programs.program import Params, ReferenceProgram, make_program
from twinplate.seeds import base_noise_chunk, batch_indices, generator
from twinplate.training.plan import Chunk

SEED = 0  # of the data and their loadings; the seeds of training are another matter
# While time is measured: low, since the stock recipes diverge at a higher rate, and every step tells NaN.
TIMED_RATE = 1e-6


@dataclass(frozen=True)
class Size:
    """N items, D features, K components, batches of B, width H of the encoder's hidden layers."""

    num_items: int = 4096
    num_features: int = 64
    num_components: int = 8
    batch_size: int = 256
    hidden_width: int = 128


SIZES = {
    "S": Size(),
    "M": Size(16_384, 256, 32, 1024, 256),
    "L": Size(32_768, 512, 64, 2048, 512),
    "XL": Size(32_768, 1024, 128, 8192, 1024),  # fills an accelerator
}


def simulate(size: Size) -> tuple[LinearGaussian, Array]:
    """A model of `size` and complete data (N, D) drawn from it.

    Rows of the loadings are ½ N(0, R), R = ½ I + ½ 11ᵀ: any two components are correlated by ½.
    Intercepts are standard normal, noise scales uniform on (0.5, 1.5).
    """
    d, k = size.num_features, size.num_components
    factor = np.linalg.cholesky(0.5 * np.eye(k) + 0.5)
    loadings = 0.5 * generator(SEED, "loadings").standard_normal((d, k)) @ factor.T
    intercept = generator(SEED, "intercept").standard_normal(d)
    noise_scale = generator(SEED, "noise_scale").uniform(0.5, 1.5, d)
    generative = LinearGaussian(loadings, intercept, noise_scale)
    return generative, generative.simulate(size.num_items, generator(SEED, "x"))[0]


@dataclass(frozen=True, eq=False)
class Workload:
    """A program, its data `x` (N, D), the parameters to start from and the learning rate."""

    size: Size
    program: ReferenceProgram
    x: Array
    params: Params
    rate: float = TIMED_RATE

    @property
    def flops(self) -> int:
        """Floating-point operations of one step's matrix products: encoder and likelihood, both ways."""
        total = 4 * self.size.num_features * self.size.num_components  # the likelihood's two
        for name, weight in self.params.items():
            if name.endswith("weight"):
                # Inputs of the first layer and of the skip are data: no gradient flows back into them.
                products = 2 if name in ("encoder.hidden1.weight", "encoder.skip.weight") else 3
                # Nothing is missing, so half of the first layer, the missing indicators', is unused.
                used = weight.size // 2 if name == "encoder.hidden1.weight" else weight.size
                total += 2 * products * used
        return total * self.size.batch_size

    @property
    def num_parameters(self) -> int:
        """How many numbers are trained."""
        return sum(values.size for values in self.params.values())

    @property
    def adam_bytes(self) -> int:
        """What Adam has to read (parameter, gradient, two moments) and write (all but the gradient)."""
        return 7 * 4 * self.num_parameters

    @property
    def held_bytes(self) -> int:
        """What training holds between steps in single precision: data, parameters and two moments."""
        return 4 * (self.x.size + 3 * self.num_parameters)

    def chunk(self, steps: int, matched: bool = False) -> Chunk:
        """The first `steps` steps; with their base noise if `matched`."""
        b, n = self.size.batch_size, self.size.num_items
        shapes = noise_shapes(self.program.config, b) if matched else {}
        indices = batch_indices(SEED, 0, steps, n, b)
        noise = base_noise_chunk(SEED, 0, steps, shapes)
        return Chunk(0, indices, np.full(steps, self.rate), noise)


def make_workload(size: Size, guide: str = "auxiliary") -> Workload:
    """The workload of `size`; its parameters are moved a little, so that none is zero."""
    generative, x = simulate(size)
    sizes = (size.num_features, size.num_components)
    config = ProgramConfig(*sizes, guide=guide, hidden_width=size.hidden_width)
    # The encoder as one writes it by hand, in units of 1.
    program = replace(make_program(x, config, generative), width=None)
    params = {
        name: v + 0.1 * generator(SEED, name).standard_normal(v.shape) / np.sqrt(v.shape[-1])
        for name, v in initial_params(program, SEED).items()
    }
    return Workload(size, program, x, params)


def reference_loss(work: Workload, x: Array, noise: Array) -> float:
    """Negative ELBO per item at `work.params`, from a mini-batch `x` (B, D) and noise (B, K).

    Written out in NumPy, in double precision, for the auxiliary guide with a full covariance.
    """
    k, fixed = work.size.num_components, work.program.fixed
    p = {name.removeprefix("encoder."): value for name, value in work.params.items()}
    features = (x - fixed["center"]) / fixed["spread"]
    hidden = np.concatenate([features, np.zeros_like(features)], -1)  # nothing is missing
    for layer in ("hidden1", "hidden2"):
        hidden = hidden @ p[f"{layer}.weight"].T + p[f"{layer}.bias"]
        hidden = hidden / (1 + np.exp(-hidden))
    flat = hidden @ p["out.weight"].T + p["out.bias"]
    loc = flat[:, :k] + features @ p["skip.weight"].T
    diagonal = np.logaddexp(flat[:, k : 2 * k] + UNIT_SHIFT, 0)
    tril = np.zeros((len(x), k, k))
    tril[:, np.arange(k), np.arange(k)] = diagonal
    tril[:, *np.tril_indices(k, -1)] = flat[:, 2 * k :]
    a = loc + (tril @ noise[..., None])[..., 0]
    misfit = (x - a @ fixed["loadings"].T - fixed["intercept"]) / fixed["noise_scale"]
    # The π of prior and guide cancel.
    log_q = -0.5 * np.sum(noise**2) - np.log(diagonal).sum()
    log_prior = -0.5 * np.sum(a**2)
    log_likelihood = -0.5 * np.sum(misfit**2 + np.log(2 * np.pi)) - len(x) * np.sum(
        np.log(fixed["noise_scale"])
    )
    return float(log_q - log_prior - log_likelihood) / len(x)


def filled_order(num_components: int) -> np.ndarray:
    """Where a triangle filled without a scatter finds the neutral layout's numbers, (K (K + 1) / 2,).

    `[v[K:], reversed v]` as a K × K matrix holds every number of v once on and below the diagonal.
    With `v = flat[order]` its lower triangle is that of the neutral layout (diagonal first, then row
    by row).
    """
    k = num_components
    position = np.arange(k * (k + 1) // 2)
    square = np.concatenate([position[k:], position[::-1]]).reshape(k, k)
    neutral = np.zeros((k, k), dtype=np.int64)
    neutral[np.arange(k), np.arange(k)] = np.arange(k)
    neutral[np.tril_indices(k, -1)] = np.arange(k, len(position))
    order = np.empty_like(position)
    order[square[np.tril_indices(k)]] = neutral[np.tril_indices(k)]
    return order
