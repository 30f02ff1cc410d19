"""The amortised joint guide against NUTS, item by item: means, standard deviations and correlations.

    python benchmarks/posteriors.py [--quick] [--json PATH]

Four models that are not Gaussian, each trained in both frameworks on 2,000 items and asked about six items
never seen, for which NUTS draws from the true posterior. Compared are the unconstrained numbers of an item,
over which the guide is a normal. And a simulation-based calibration (Talts et al., 2018,
https://arxiv.org/abs/1804.06788) of the guide of `contrast`: the rank of the true value among draws of the
guide, which is uniform if the guide is right, for 200 items simulated from the model.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import posteriors_numpyro as in_numpyro
import posteriors_pyro as in_pyro
from posteriors_models import MODELS, Model
from scipy import stats

ITEMS, STEPS, BATCH, CHECKED = 2000, 6000, 100, 6
SIMULATIONS, RANKS, BINS = 200, 99, 10  # of the calibration: ranks 0 to 99 in ten bins
Array = np.ndarray


def compared(draws: Array, loc: Array, covariance: Array) -> dict[str, float]:
    """How far a normal for each item is from the draws (S, items, J) of NUTS: the worst of all items.

    mean_error in standard deviations of the truth; sd_low and sd_high, the guide's standard deviation
    divided by the truth's; correlation_error.
    """
    mean, sd = draws.mean(0), draws.std(0)
    scale = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    correlation = covariance / (scale[:, :, None] * scale[:, None, :])
    truth = np.stack([np.corrcoef(item.T) for item in draws.transpose(1, 0, 2)])
    return {
        "mean_error": float(np.abs((loc - mean) / sd).max()),
        "sd_low": float((scale / sd).min()),
        "sd_high": float((scale / sd).max()),
        "correlation_error": float(np.abs(correlation - truth).max()),
        "strongest_correlation": float(np.abs(truth - np.eye(truth.shape[-1])).max()),
    }


def calibration(values: Array, draws: Array) -> list[float]:
    """p of the χ² test that ranks of `values` (items, J) among draws (99, items, J) are uniform: J."""
    ranks = (draws < values).sum(0)
    counts = [np.bincount(column * BINS // (RANKS + 1), minlength=BINS) for column in ranks.T]
    return [float(stats.chisquare(c).pvalue) for c in counts]


def rows(steps: int = STEPS, models: tuple[str, ...] = tuple(MODELS)) -> list[dict[str, Any]]:
    """A row for each model and framework, and one for each calibration."""
    found = []
    for name in models:
        model = MODELS[name]
        x, _ = model.simulate(np.random.default_rng(0), ITEMS)
        new, _ = model.simulate(np.random.default_rng(1), CHECKED)
        draws = in_numpyro.nuts(model, new)
        for framework in (in_numpyro, in_pyro):
            guide = framework.trained(model, x, steps, BATCH)
            row = {"model": name, "framework": framework.NAME, **compared(draws, *guide(new))}
            if name == "contrast":
                row["calibration"] = _calibrated(model, guide)
            found.append(row)
            print(_line(row), flush=True)
    return found


def _calibrated(model: Model, guide: Any) -> list[float]:
    rng = np.random.default_rng(2)
    x, latents = model.simulate(rng, SIMULATIONS)
    values = np.column_stack([latents["a"], np.log(latents["contrast"])])
    loc, covariance = guide(x)
    noise = rng.normal(size=(RANKS, *loc.shape))
    draws = loc + np.einsum("njk,snk->snj", np.linalg.cholesky(covariance), noise)
    return calibration(values, draws)


def _line(row: dict[str, Any]) -> str:
    text = (
        f"{row['model']:10s} {row['framework']:8s} mean within {row['mean_error']:.2f} sd, "
        f"sd × {row['sd_low']:.2f} to {row['sd_high']:.2f}, correlations within "
        f"{row['correlation_error']:.2f} (strongest {row['strongest_correlation']:.2f})"
    )
    p = row.get("calibration")
    return text + (f", calibration p = {', '.join(f'{v:.2f}' for v in p)}" if p else "")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one model, few steps")
    parser.add_argument("--json", type=Path, help="where to write the rows")
    given = parser.parse_args()
    found = rows(200, ("counts",)) if given.quick else rows()
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
