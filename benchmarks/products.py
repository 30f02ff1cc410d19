"""Matrix products of one step, in single precision: by torch's BLAS library, and by oneDNN.

    python benchmarks/products.py [--sizes M L] [--json FILE]

The products of the encoder's last layer, forwards and for both gradients, and those with the packed
triangle's 0/1 matrices. oneDNN's time includes bringing a factor into order. `pyro_impl.compiled.onednn`
gives the large products of compiled steps to oneDNN.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from reporting import facts, print_facts, print_table, write_json
from torch import Tensor

from pyro_impl.compiled.onednn import by_onednn
from twinplate.bench.timing import interleave, ratio
from twinplate.bench.workload import SIZES, Size
from twinplate.programs.triangle import packed_size

ROUNDS = 25


def products(size: Size) -> dict[str, tuple[Tensor, Tensor]]:
    """Name -> factors, laid out in memory as training has them."""
    b, h, k = size.batch_size, size.hidden_width, size.num_components
    outputs = 2 * k + packed_size(k)
    hidden, weight, gradient = torch.randn(b, h), torch.randn(outputs, h), torch.randn(b, outputs)
    noise, copy = torch.randn(b, k), torch.randn(k, packed_size(k))
    return {
        "last layer": (hidden, weight.t()),
        "gradient of its weights": (gradient.t(), hidden),
        "gradient of its inputs": (gradient, weight),
        "noise to its columns": (noise, copy),
        "rows added up": (gradient[:, 2 * k :].contiguous(), copy.t()),
    }


def measure(size: str) -> list[dict[str, Any]]:
    """One row for each product of a size."""
    rows = []
    with torch.no_grad():
        for name, (left, right) in products(SIZES[size]).items():
            blocks: dict[str, Callable[[], Any]] = {
                "torch": partial(torch.mm, left, right),
                "oneDNN": partial(by_onednn, left, right),
            }
            for work in blocks.values():
                work()
            seconds = interleave(blocks, ROUNDS, np.random.default_rng(0))
            found = ratio(seconds["oneDNN"], seconds["torch"])
            operations = 2 * left.numel() * right.shape[1]
            rows.append({"size": size, "product": name, "operations": operations, **vars(found)})
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=["M", "L"])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    known = facts(rounds=ROUNDS, threads_used=torch.get_num_threads())
    print_facts(known)
    rows = [row for size in options.sizes for row in measure(size)]
    table = [
        [
            f"{row['size']}: {row['product']}",
            f"{row['operations'] / 1e6:,.0f}",
            f"{row['median']:.2f} ({row['low']:.2f} to {row['high']:.2f})",
        ]
        for row in rows
    ]
    print_table(
        "oneDNN ÷ torch's BLAS, median (95 %)", ["product", "10⁶ operations", "time"], table
    )
    write_json(options.json, {"facts": known, "rows": rows})


if __name__ == "__main__":
    main()
