"""How the product with a packed triangle is fastest, by K: an encoder's last layer and the product.

    python benchmarks/triangle.py [--components 8 16 32 64 96 128 192 256] [--batch-size 256] [--json FILE]

Packed: two products with 0/1 matrices. Filled: the matrix is built, then multiplied. Rows: one after the
other, as `packed_product` goes on a CPU beyond ROWS_ABOVE components where B K is ROWS_FROM or more.
Elsewhere it is packed up to PACKED_LIMIT, and then filled. Value and both gradients, single precision, hidden
width 256; Pyro's are eager. Times are divided by that of the filled matrix, round by round.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import torch
from reporting import facts, print_facts, print_table, write_json

import numpyro_impl.programs.triangle
import pyro_impl.programs.triangle
from twinplate.bench.timing import interleave, ratio
from twinplate.programs.triangle import packed_size

ROUNDS = 25
HIDDEN = 256
COMPONENTS = (8, 16, 32, 64, 96, 128, 192, 256)
FORMS = {
    "packed": {"PACKED_LIMIT": 10**6, "ROWS_ABOVE": 10**6},
    "filled": {"PACKED_LIMIT": 0, "ROWS_ABOVE": 10**6},
    "rows": {"PACKED_LIMIT": 0, "ROWS_ABOVE": 0, "ROWS_FROM": 0},
}


def numbers(components: int, batch_size: int) -> list[np.ndarray]:
    """Hidden units (B, H), weights (H, M) and noise (B, K)."""
    rng = np.random.default_rng(0)
    shapes = [(batch_size, HIDDEN), (HIDDEN, packed_size(components)), (batch_size, components)]
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def in_jax(components: int, batch_size: int, limits: dict[str, int]) -> Callable[[], Any]:
    """A compiled function; which product it holds is settled as it is traced, at the first call."""
    given = [jnp.asarray(n) for n in numbers(components, batch_size)]

    def loss(hidden: jax.Array, weights: jax.Array, noise: jax.Array) -> jax.Array:
        return (numpyro_impl.programs.triangle.packed_product(hidden @ weights, noise) ** 2).sum()

    step = jax.jit(jax.value_and_grad(loss, (0, 1)))

    def run() -> Any:
        with mock.patch.multiple(numpyro_impl.programs.triangle, **limits):
            return jax.block_until_ready(step(*given))

    return run


def in_torch(components: int, batch_size: int, limits: dict[str, int]) -> Callable[[], Any]:
    """An eager function."""
    hidden, weights, noise = (torch.from_numpy(n) for n in numbers(components, batch_size))
    leaves = [hidden.requires_grad_(), weights.requires_grad_()]

    def run() -> Any:
        triangle = pyro_impl.programs.triangle
        with mock.patch.multiple(triangle, **limits):
            loss = triangle.packed_product(hidden @ weights, noise).square().sum()
        return loss.detach(), torch.autograd.grad(loss, leaves)

    return run


WAYS = {"NumPyro": in_jax, "Pyro, eager": in_torch}


def measure(components: int, batch_size: int) -> list[dict[str, Any]]:
    """One row for each framework."""
    rows = []
    for name, way in WAYS.items():
        blocks = {form: way(components, batch_size, limits) for form, limits in FORMS.items()}
        losses = [float(work()[0]) for work in blocks.values()]
        np.testing.assert_allclose(losses, losses[0], rtol=1e-4)
        seconds = interleave(blocks, ROUNDS, np.random.default_rng(0))
        found = {form: vars(ratio(seconds[form], seconds["filled"])) for form in ("packed", "rows")}
        rows.append({"components": components, "framework": name, **found})
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--components", nargs="+", type=int, default=COMPONENTS)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    known = facts(rounds=ROUNDS, batch_size=options.batch_size, threads=torch.get_num_threads())
    print_facts(known)
    found = map(partial(measure, batch_size=options.batch_size), options.components)
    rows = [row for rows in found for row in rows]
    table = [
        [
            f"{row['components']}",
            row["framework"],
            *(
                f"{row[form]['median']:.2f} ({row[form]['low']:.2f} to {row[form]['high']:.2f})"
                for form in ("packed", "rows")
            ),
        ]
        for row in rows
    ]
    heads = ["K", "framework", "packed", "rows"]
    print_table("time ÷ that of a filled matrix, median (95 %)", heads, table)
    write_json(options.json, {"facts": known, "rows": rows})


if __name__ == "__main__":
    main()
