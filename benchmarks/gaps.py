"""How close fitted guides come to the exact posterior: mean KL(q ‖ p) per item in nats, in closed form.

    python benchmarks/gaps.py [--seeds 8] [--steps 3000] [--json FILE]

A guide *misses* KL(q ‖ p), the distance of its exact ELBO from the log evidence. The best member of
its family misses the *family gap* (0 for full, ½ (Σ log Λᵢᵢ - log det Λ) for diagonal); the rest is
the *amortisation gap*, the encoder's and the optimiser's share.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from problem import Problem, add_size_arguments, make_problem, size_from
from recipes import Recipe
from reporting import compile_once, console, facts, print_facts, print_table, write_json

from twinplate.programs.config import TrainingConfig

HIDDEN = 0.3
BOUND = 0.02  # nat per item, on the amortisation gap with full data

RECIPES = {
    "full": Recipe(),
    "diagonal": Recipe("diagonal", "diagonal"),
    "event": Recipe("event"),
    "analytic": Recipe(estimator="analytic-kl"),
    "landing": Recipe(estimator="sticking-the-landing"),
    "low-rank": Recipe(covariance="low-rank"),
    "hidden-experts": Recipe(encoder="experts", hidden=HIDDEN),
    "hidden-mlp": Recipe(hidden=HIDDEN),
    "hidden-textbook": Recipe(encoder="textbook", hidden=HIDDEN),
    "hidden-diagonal": Recipe("diagonal", "diagonal", "experts", HIDDEN),
}


def measure(
    problem: Problem, recipe: Recipe, backend: str, options: argparse.Namespace
) -> dict[str, Any]:
    """One row: every seed of one recipe in one framework."""
    started = time.perf_counter()
    missed = []
    for seed in range(options.seeds):
        training = TrainingConfig(
            options.steps,
            problem.size.batch_size,
            seed=seed,
            precision=options.precision,
            device="cpu",
        )
        missed.append(recipe.missed(backend, problem, recipe.fit(backend, problem, training)))
    family = {"full": 0.0, "diagonal": problem.diagonal_gap}.get(recipe.covariance)
    return {
        "recipe": recipe.title,
        "backend": backend,
        "missed": missed,
        "family_gap": family,
        "best_diagonal": problem.diagonal_gap,
        "met": met(recipe, max(missed), family, problem.diagonal_gap),
        "seconds": round(time.perf_counter() - started, 1),
    }


def met(recipe: Recipe, worst: float, family: float | None, best_diagonal: float) -> bool | None:
    """Whether the worst seed reaches what is asked of a recipe; None where nothing is asked."""
    if recipe.hidden == 0 and family is not None:
        return worst - family <= BOUND
    if recipe.encoder == "experts" and recipe.covariance == "full":
        return worst < best_diagonal
    return None


def cells(row: dict[str, Any]) -> list[str]:
    """One row of the table."""
    missed = np.array([float(np.median(row["missed"])), max(row["missed"])])
    beyond = ["–", "–"]
    if row["family_gap"] is not None:
        beyond = [f"{value:.4f}" for value in missed - row["family_gap"]]
    return [
        row["recipe"],
        row["backend"],
        f"{row['best_diagonal']:.4f}",
        *(f"{value:.4f}" for value in missed),
        *beyond,
        {True: "yes", False: "NO", None: "–"}[row["met"]],
    ]


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--backends", nargs="+", default=["numpyro", "pyro"])
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument("--json", type=Path)
    add_size_arguments(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Measure every recipe, printing each as it is done, then the table."""
    options = parse(arguments)
    size = size_from(options)
    known = facts(
        size=vars(size),
        training=f"{options.steps} steps, cosine from 1e-2, {options.precision}",
        seeds=f"0 to {options.seeds - 1}",
    )
    print_facts(known)
    rows = []
    for name in options.recipes:
        problem = make_problem(size, RECIPES[name].hidden)
        for backend in options.backends:
            rows.append(measure(problem, RECIPES[name], backend, options))
            console.print(f"{name} {backend} {np.round(rows[-1]['missed'], 4).tolist()}")
            write_json(options.json, {"facts": known, "rows": rows})
    columns = ["data, guide, encoder", "backend", "best diagonal", "median", "worst"]
    columns += ["beyond family: median", "worst", "met"]
    print_table("KL(q ‖ exact posterior), nats per item", columns, [cells(row) for row in rows])
    console.print(
        f"Targets, worst seed. Full data: beyond its family ≤ {BOUND}. "
        f"{HIDDEN:.0%} hidden, full, experts: below what the best diagonal guide misses."
    )


if __name__ == "__main__":
    compile_once()
    main()
