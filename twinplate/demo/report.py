"""What the demo found: the numbers of its tables, as text for people and as JSON for programs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from scipy.stats import norm

from twinplate.demo.digits import BLOCK, SIDE, Digits, cosines
from twinplate.programs.config import TrainingConfig
from twinplate.programs.linear_gaussian import Array, Gaussian, LinearGaussian
from twinplate.seeds import generator
from twinplate.training.run_directory import versions

LABELS = {"pyro": "Pyro", "numpyro": "NumPyro"}
LEVEL = 0.95  # of the intervals
GAPS = ("elbo", "log_evidence", "family_gap", "amortisation_gap")
HALF_WIDTH = float(norm.ppf(0.5 + LEVEL / 2))  # in standard deviations


@dataclass(frozen=True, eq=False)
class Fitted:
    """One of the six fits: losses (nats per item), q(a | x) of every image, seconds it took.

    `first_seconds` are those of the first chunk of steps, compilation included.
    """

    guide: str
    backend: str
    losses: Array
    posterior: Gaussian
    seconds: float
    first_seconds: float


@dataclass(frozen=True)
class Difference:
    """Largest relative difference between the frameworks after the matched stretch."""

    losses: float
    params: float


def coverage(
    digits: Digits, generative: LinearGaussian, posterior: Gaussian, truth: Array
) -> float:
    """Share of the hidden pixels of `truth` (N, D) inside their 95 % predictive intervals."""
    mean, sd = generative.reconstruct(posterior)
    return float(np.mean((np.abs(truth - mean) <= HALF_WIDTH * sd)[digits.hidden]))


def fill_in_sd(generative: LinearGaussian, posterior: Gaussian) -> Array:
    """Posterior standard deviation of the noiseless image, (N, D): what `a` leaves uncertain."""
    return np.sqrt(np.sum((generative.loadings @ posterior.scale_tril) ** 2, axis=-1))


def held_probability(exact: Gaussian, guide: Gaussian) -> float:
    """Exact posterior probability inside the guide's 95 % interval of a component, on average."""
    half = HALF_WIDTH * _sd(guide)
    upper, lower = ((guide.loc + s * half - exact.loc) / _sd(exact) for s in (1, -1))
    return float(np.mean(norm.cdf(upper) - norm.cdf(lower)))


def _sd(posterior: Gaussian) -> Array:
    return np.sqrt(np.sum(posterior.scale_tril**2, axis=-1))


def results(
    digits: Digits,
    generative: LinearGaussian,
    fits: list[Fitted],
    differences: dict[str, Difference],
    training: TrainingConfig,
    matched: TrainingConfig,
) -> dict[str, Any]:
    """Every number the demo prints, as plain data; gaps and ELBO in nats per item."""
    x, exact = digits.x, generative.posterior(digits.x)
    evidence = float(generative.log_evidence(x).mean())
    return {
        "versions": versions(),
        "training": training.as_dict(),
        "matched_training": matched.as_dict(),
        "data": {
            "num_items": len(x),
            "num_features": x.shape[1],
            "dropped_pixels": np.flatnonzero(~digits.kept).tolist(),
            "hidden_pixels": int(digits.hidden.sum()),
        },
        "log_evidence": evidence,
        "exact": _uncertainty(digits, generative, exact, exact),
        "simulated": _simulated_coverage(digits, generative, training.seed),
        "fits": [
            {
                "guide": fit.guide,
                "backend": fit.backend,
                **_gaps(generative, fit, x, evidence),
                "seconds": fit.seconds,
                "first_seconds": fit.first_seconds,
                "matched_difference": asdict(differences[fit.guide]),
                **_uncertainty(digits, generative, exact, fit.posterior),
            }
            for fit in fits
        ],
    }


def _gaps(generative: LinearGaussian, fit: Fitted, x: Array, evidence: float) -> dict[str, float]:
    covariance = "diagonal" if fit.guide == "diagonal" else "full"
    elbo = float(generative.expected_elbo(x, fit.posterior).mean())
    family = float(generative.family_gap(x, covariance).mean())
    return {
        "elbo": elbo,
        "log_evidence": evidence,
        "family_gap": family,
        "amortisation_gap": evidence - elbo - family,
    }


def _uncertainty(
    digits: Digits, generative: LinearGaussian, exact: Gaussian, posterior: Gaussian
) -> dict[str, Any]:
    ratio = fill_in_sd(generative, posterior) / fill_in_sd(generative, exact)
    return {
        "coverage": coverage(digits, generative, posterior, digits.complete),
        "held_probability": held_probability(exact, posterior),
        "fill_in_sd_ratio": np.quantile(ratio[digits.hidden], (0.05, 0.5, 0.95)).tolist(),
    }


def _simulated_coverage(digits: Digits, generative: LinearGaussian, seed: int) -> dict[str, float]:
    """Coverage where the model is true: on images drawn from it, with the same blocks hidden."""
    truth, _ = generative.simulate(len(digits.complete), generator(seed, "simulated"))
    x = np.where(digits.hidden, np.nan, truth)
    return {
        "exact": coverage(digits, generative, generative.posterior(x), truth),
        "best_diagonal": coverage(digits, generative, generative.best_diagonal(x), truth),
    }


def write_results(path: Path, numbers: dict[str, Any]) -> None:
    """Write `results.json`."""
    path.write_text(json.dumps(numbers, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def print_introduction(
    console: Console, digits: Digits, generative: LinearGaussian, training: TrainingConfig
) -> None:
    """Say what is about to be fitted, in plain words."""
    n, d = digits.complete.shape
    overlap = np.abs(np.tril(cosines(generative), -1)).max()
    strongest = np.abs(np.tril(generative.posterior(digits.x).correlation, -1)).max(axis=(1, 2))
    console.print(
        f"Data: {n:,} handwritten digits of {SIDE} × {SIDE} pixels, grey levels 0 to 16, from "
        f"scikit-learn. {SIDE**2 - d} pixels are the same in all images and dropped; {d} are left. "
        f"In every image a block of {BLOCK} × {BLOCK} pixels at a random place is hidden.\n"
        f"Model: an image is a weighted sum of {generative.num_components} fixed parts plus noise. "
        "The parts come from a factor analysis of the complete images and overlap (cosines up to "
        f"{overlap:.2f}), so that the weights of an image are correlated given its pixels: the "
        f"strongest correlation is {strongest.mean():.2f} on average.\n"
        "Guides: diagonal (independent weights), event and auxiliary (one joint normal per image), "
        f"each in Pyro and in NumPyro, {training.steps:,} steps on mini-batches of "
        f"{training.batch_size}. In this model the exact posterior is a formula: every guide can be "
        "held against it.\n",
        highlight=False,
    )


def print_outcome(console: Console, numbers: dict[str, Any], out: Path) -> None:
    """Print both tables, what their columns mean, and where the pictures are."""
    console.print(_fits_table(numbers))
    console.print(
        "\nNo ELBO exceeds the log evidence. The family gap is what the best guide of the family "
        "misses, by a formula; the amortisation gap is what the trained encoder misses beyond it.\n"
        "Matched: both frameworks start from the same numbers and get the same noise; the largest "
        f"relative difference of losses and parameters over {numbers['matched_training']['steps']} "
        "steps in float64.\n"
        "Seconds, and those of the first 100 steps in brackets, which include compilation. PyTorch "
        "runs on one thread. These are no benchmark.\n",
        highlight=False,
    )
    console.print(_uncertainty_table(numbers))
    simulated = numbers["simulated"]
    console.print(
        "\nWithout correlations a guide is too sure of every single weight, and wrong about their "
        "sums, the pixels: mostly too sure.\n"
        "Digits are no draws from this model, and its parts come from the complete images: even the "
        "exact posterior's intervals need not hold 95 % of the hidden pixels. On images drawn from "
        f"the model they hold {simulated['exact']:.1%}, and those of the best diagonal guide "
        f"{simulated['best_diagonal']:.1%}.\n\n"
        f"Pictures in {out}: elbo.png, correlation.png, inpainting.png; all numbers in results.json",
        highlight=False,
    )


def _fits_table(numbers: dict[str, Any]) -> Table:
    headers = (
        "ELBO",
        "log\nevidence",
        "family\ngap",
        "amorti-\nsation\ngap",
        "seconds\n(first\n100)",
        "matched",
    )
    table = _table("Six fits beside the exact answer, nats per image", ("guide", ""), headers)
    for fit in numbers["fits"]:
        table.add_row(
            fit["guide"],
            LABELS[fit["backend"]],
            *(f"{fit[key]:.3f}" for key in GAPS),
            f"{fit['seconds']:.1f} ({fit['first_seconds']:.1f})",
            f"{max(fit['matched_difference'].values()):.0e}",
        )
    return table


def _uncertainty_table(numbers: dict[str, Any]) -> Table:
    headers = (
        "hidden pixels\ninside their\n95 % intervals",
        "exact probability\nof a weight's\n95 % interval",
        "sd of a hidden\npixel ÷ exact\n(5, 50, 95 %)",
    )
    table = _table("Uncertainty beside that of the exact posterior", ("", ""), headers)
    rows = [("exact", "", numbers["exact"])]
    rows += [(fit["guide"], LABELS[fit["backend"]], fit) for fit in numbers["fits"]]
    for guide, backend, row in rows:
        ratios = "  ".join(f"{ratio:.2f}" for ratio in row["fill_in_sd_ratio"])
        shares = (f"{row[key]:.1%}" for key in ("coverage", "held_probability"))
        table.add_row(guide, backend, *shares, ratios)
    return table


def _table(title: str, words: tuple[str, ...], numbers: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, collapse_padding=True)
    for header in words:
        table.add_column(header, no_wrap=True)
    for header in numbers:
        table.add_column(header, justify="right", no_wrap=True)
    return table
