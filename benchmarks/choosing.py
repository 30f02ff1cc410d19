"""How often `twinplate choose` finds the number of components that simulated data have.

    python benchmarks/choosing.py [--seeds 8] [--quick] [--likelihood poisson] [--json FILE]

12 features with loadings from Normal(0, 0.6²) and noise scales from 0.5 to 1.5; each of 1 to 5 components
with every seed, so five data sets a seed in each row. 1 to 7 components are tried. Besides the rule, the
fewest within one standard error of the best, it counts the best itself.

Of counts, 300 items of 12 features with loadings from Normal(0, 0.6²), given offsets from 0.5 to 2 and an
intercept of 1; of zeros and ones loadings from Normal(0, 2²). Each of 1 to 3 components, of which 1 to 4 are
tried: every number of components takes five fits.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from reporting import console, facts, print_facts, print_table, write_json

from twinplate.choosing.counts import Counts, held_out_bounds
from twinplate.choosing.held_out import held_out_evidence, some_items, usual_components
from twinplate.choosing.rule import choose
from twinplate.programs.generalised_linear import GeneralisedLinear
from twinplate.programs.likelihood import LIKELIHOODS
from twinplate.programs.linear_gaussian import Array, LinearGaussian
from twinplate.seeds import generator

FEATURES = 12
TRUE = (1, 2, 3, 4, 5)
SETTINGS = ((200, 0.0), (1000, 0.0), (5000, 0.0), (400, 0.2))  # items, share of entries missing
QUICK = ((100, 0.0),)
OF_COUNTS, TRUE_OF_COUNTS, TRIED_OF_COUNTS = (300, 0.0), (1, 2, 3), (1, 2, 3, 4)
CERTAIN = 0.95


def simulate(num_items: int, missing: float, components: int, seed: int) -> Array:
    """The data (N, D), NaN where missing."""
    rng = generator(seed, "choosing", num_items, components)
    model = LinearGaussian(
        0.6 * rng.standard_normal((FEATURES, components)),
        rng.standard_normal(FEATURES),
        rng.uniform(0.5, 1.5, FEATURES),
    )
    x, _ = model.simulate(num_items, rng)
    x[rng.random(x.shape) < missing] = np.nan
    return x


def simulate_counts(
    likelihood: str, num_items: int, components: int, seed: int
) -> tuple[Array, Counts]:
    """The data (N, D) and what they are."""
    rng = generator(seed, "counts", num_items, components)
    bits = likelihood == "bernoulli"
    loadings = (2.0 if bits else 0.6) * rng.standard_normal((FEATURES, components))
    concentration = 5.0 if likelihood == "negative-binomial" else None
    model = GeneralisedLinear(
        likelihood, loadings, 0.0 if bits else 1.0, concentration=concentration
    )
    offsets = None if bits else rng.uniform(0.5, 2.0, num_items)
    x, _ = model.simulate(num_items, rng, offsets)
    return x, Counts(likelihood, "" if bits else "given", offsets)


def scored(
    likelihood: str, num_items: int, missing: float, components: int, seed: int
) -> tuple[Array, tuple[int, ...]]:
    """What every held-out item of one data set is scored, (N, C), and the C numbers that are tried."""
    if likelihood == "normal":
        tried = usual_components(FEATURES)
        x = some_items(simulate(num_items, missing, components, seed), seed)
        return held_out_evidence(x, tried), tried
    x, counts = simulate_counts(likelihood, num_items, components, seed)
    return held_out_bounds(x, TRIED_OF_COUNTS, counts, "pyro").bound, TRIED_OF_COUNTS


def measure(
    num_items: int, missing: float, seeds: int, likelihood: str = "normal"
) -> dict[str, Any]:
    """One row: what was chosen for every data set, and the seconds that it took."""
    started, found = time.perf_counter(), []
    for seed in range(seeds):
        for components in TRUE if likelihood == "normal" else TRUE_OF_COUNTS:
            scores, tried = scored(likelihood, num_items, missing, components, seed)
            choice = choose(scores)
            found.append(
                {
                    "seed": seed,
                    "true": components,
                    "chosen": tried[choice.chosen],
                    "best": tried[choice.best],
                    "certainty": choice.certainty,
                }
            )
    seconds = round(time.perf_counter() - started, 1)
    return {"items": num_items, "missing": missing, "found": found, "seconds": seconds}


def cells(row: dict[str, Any]) -> list[str]:
    """One row of the table."""
    found = row["found"]
    off = np.array([one["chosen"] - one["true"] for one in found])
    best = sum(one["best"] == one["true"] for one in found)
    certain = [one for one in found if one["certainty"] >= CERTAIN]
    right = sum(one["chosen"] == one["true"] for one in certain)
    return [
        f"{row['items']:,} items, {row['missing']:.0%} missing",
        f"{int((off == 0).sum())} of {len(found)}",
        str(int((off < 0).sum())),
        str(int((off > 0).sum())),
        f"{best} of {len(found)}",
        f"{right} of {len(certain)}",
    ]


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--quick", action="store_true", help="one small setting and one seed")
    parser.add_argument("--likelihood", default="normal", choices=LIKELIHOODS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    seeds = 1 if options.quick else options.seeds
    normal = options.likelihood == "normal"
    known = facts(
        likelihood=options.likelihood,
        features=FEATURES,
        true=TRUE if normal else TRUE_OF_COUNTS,
        tried=usual_components(FEATURES) if normal else TRIED_OF_COUNTS,
        seeds=seeds,
    )
    print_facts(known)
    rows = []
    settings = SETTINGS if normal else (OF_COUNTS,)
    for num_items, missing in QUICK if options.quick else settings:
        rows.append(measure(num_items, missing, seeds, options.likelihood))
        console.print(" | ".join(cells(rows[-1])), highlight=False)
        write_json(options.json, {"facts": known, "rows": rows})
    columns = [
        "data",
        "right",
        "too few",
        "too many",
        "the best is right",
        f"right where ≥ {CERTAIN:.0%}",
    ]
    print_table("The number of components that is chosen", columns, [cells(row) for row in rows])


if __name__ == "__main__":
    main()
