"""Matched training: both twins from the same parameters, batches and base noise, in float64.

    python benchmarks/matched.py [--steps 200] [--json FILE]

For every valid pair and covariance, with either encoder, with and without an amplitude, with fixed
and learned generative parameters, and 30 % of the entries hidden: the largest relative difference of
the losses (each to its own size) and of the parameters (each to the largest entry of its array).
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import Any

import numpy as np
from problem import Problem, add_size_arguments, make_problem, size_from
from reporting import compile_once, console, facts, print_facts, print_table, write_json

from twinplate.backends import load_backend
from twinplate.programs.config import ENCODERS, LEARNABLE, PAIRS, TrainingConfig

HIDDEN = 0.3
BOUND = 1e-12
SEED = 0


def programs(guides: list[str], encoders: list[str]) -> list[dict[str, Any]]:
    """The configurations to compare."""
    pairs = [(guide, covariance) for guide in guides for covariance in PAIRS[guide][1]]
    return [
        {
            "guide": guide,
            "covariance": covariance,
            "encoder": encoder,
            "amplitude_scale": amplitude,
            "learned": learned,
        }
        for (guide, covariance), encoder, amplitude, learned in itertools.product(
            pairs, encoders, (None, 0.3), ((), LEARNABLE)
        )
    ]


def compare(problem: Problem, config: dict[str, Any], steps: int) -> dict[str, Any]:
    """One row: the same training in both frameworks."""
    training = TrainingConfig(
        steps, problem.size.batch_size, seed=SEED, precision="float64", device="cpu"
    )
    program = problem.program(**config)
    pyro, numpyro = (
        load_backend(name).fit(problem.x, program, training, matched=True)
        for name in ("pyro", "numpyro")
    )
    apart = {name: relative(pyro.params[name], numpyro.params[name]) for name in numpyro.params}
    worst = max(apart, key=lambda name: apart[name])
    losses = np.abs(pyro.losses - numpyro.losses) / np.abs(numpyro.losses)
    return {
        **config,
        "losses": float(losses.max()),
        "parameters": apart[worst],
        "worst_parameter": worst,
        "first_loss": float(numpyro.losses[0]),
        "last_loss": float(numpyro.losses[-1]),
    }


def relative(first: np.ndarray, second: np.ndarray) -> float:
    """Largest difference, relative to the largest entry; zero for two arrays of zeros."""
    apart = np.abs(first - second).max()
    return float(apart / np.abs(second).max()) if apart else 0.0


def cells(row: dict[str, Any]) -> list[str]:
    """One row of the table."""
    return [
        f"{row['guide']} {row['covariance']}, {row['encoder']}",
        "yes" if row["amplitude_scale"] else "no",
        "learned" if row["learned"] else "fixed",
        f"{row['losses']:.1e}",
        f"{row['parameters']:.1e}",
        row["worst_parameter"],
        "yes" if max(row["losses"], row["parameters"]) <= BOUND else "NO",
    ]


def main(arguments: list[str] | None = None) -> None:
    """Compare every configuration, printing each as it is done, then the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--guides", nargs="+", default=list(PAIRS), choices=list(PAIRS))
    parser.add_argument("--encoders", nargs="+", default=list(ENCODERS), choices=list(ENCODERS))
    parser.add_argument("--json", type=Path)
    add_size_arguments(parser)
    options = parser.parse_args(arguments)
    size = size_from(options)
    known = facts(
        size=vars(size),
        training=f"{options.steps} steps, cosine from 1e-2, float64, {HIDDEN:.0%} hidden",
        seeds=str(SEED),
    )
    print_facts(known)
    problem = make_problem(size, HIDDEN)
    rows = []
    for config in programs(options.guides, options.encoders):
        rows.append(compare(problem, config, options.steps))
        console.print(" | ".join(cells(rows[-1])))
        write_json(options.json, {"facts": known, "rows": rows})
    columns = ["guide, encoder", "amplitude", "generative", "losses", "parameters", "worst", "met"]
    print_table("Largest relative difference, Pyro and NumPyro", columns, [cells(r) for r in rows])
    worst = max(max(row["losses"], row["parameters"]) for row in rows)
    console.print(f"{len(rows)} configurations, worst {worst:.1e}; target ≤ {BOUND}.")


if __name__ == "__main__":
    compile_once()
    main()
