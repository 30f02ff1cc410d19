"""A bound on the log evidence where it has no closed form: by importance-weighted draws.

For draws a_s from a proposal r, the logarithm of the mean of w_s = p(x, a_s) / r(a_s) has an expectation
below log p(x), and the closer the more draws (Burda, Grosse and Salakhutdinov, *ICLR* 2016). The proposal
is the guide q(a | x) with a tenth of the prior mixed in (Hesterberg, *Technometrics* 37, 1995): where counts
say nothing of a direction the posterior is as wide as the prior, and weights of a guide that is too narrow
there would have no variance at all. With the prior in the mixture no weight exceeds ten times the largest
likelihood.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import scipy

from twinplate.data.blocks import fitting, spans
from twinplate.data.columns import listed
from twinplate.data.stored import Matrix
from twinplate.programs.generalised_linear import GeneralisedLinear
from twinplate.programs.linear_gaussian import LOG_2PI, MATRIX_BYTES, Array, Gaussian, placed
from twinplate.seeds import generator
from twinplate.words import counted

DRAWS = 1000  # of the latents of an item
PRIOR_SHARE = 0.1  # of them, from the prior
FEW = 20  # effective draws, of which neither a mean nor its error is known
NAMED = 5  # rows at most
BOUNDED = 500  # items at most whose evidence is bounded unasked: draws for all may take longer than the fit


def bounded_places(num_items: int) -> np.ndarray:
    """Places of at most BOUNDED of N items, evenly spread, in their order."""
    return np.arange(0, num_items, max(1, -(-num_items // BOUNDED)))


@dataclass(frozen=True, eq=False)
class EvidenceBound:
    """A lower bound on the log evidence of every item, (N,), in nats.

    value: the logarithm of the mean weight. Its expectation is below log p(x), by about error² / 2.
    error: its standard error, of the draws (delta method).
    effective_draws: (Σ w)² / Σ w², 1 to the number of draws; of few, neither value nor error is to be
        trusted.
    elbo: the guide's expected ELBO, estimated by those of the draws that are its own.  elbo_error: its
        standard error.

    >>> import numpy as np
    >>> from twinplate import EvidenceBound
    >>> values, errors, effective = np.array([[-3.0, -5.0], [0.03, 0.04], [500.0, 400.0]])
    >>> one = EvidenceBound(values, errors, effective, elbo=values - 0.1, elbo_error=errors)
    >>> one.mean, round(one.mean_error, 3), float(one.missed.mean().round(3))
    (-4.0, 0.025, 0.1)
    """

    value: Array
    error: Array
    effective_draws: Array
    elbo: Array
    elbo_error: Array

    @property
    def mean(self) -> float:
        """Of the values, in nats per item."""
        return float(np.mean(self.value)) if len(self.value) else float("nan")

    @property
    def mean_error(self) -> float:
        """The standard error of `mean`: the draws of one item are not those of another."""
        return float(np.sqrt(np.sum(self.error**2)) / max(len(self.error), 1))

    @property
    def missed(self) -> Array:
        """What the ELBO is below the bound, (N,): an estimate of KL(guide ‖ posterior), seldom above it."""
        return self.value - self.elbo

    def as_dict(self) -> dict[str, float]:
        """Plain data, for JSON: the mean, its error, and the effective draws of the item with the fewest."""
        fewest = float(self.effective_draws.min()) if len(self.value) else float("nan")
        return {
            "evidence_bound": self.mean,
            "evidence_bound_error": self.mean_error,
            "least_effective_draws": fewest,
        }


def few_draws(effective: Array, rows: np.ndarray | None = None) -> str:
    """A sentence where items have few of DRAWS effective draws, or else nothing.

    effective: (N,), of each item.  rows: (N,), where they stand in the data, from 0.

    >>> few_draws(np.array([900.0, 3.0]))[:61]
    '1 item has fewer than 20 effective draws of 1,000 (row 2): it'
    """
    few = np.flatnonzero(effective < FEW)
    if not len(few):
        return ""
    at = few if rows is None else rows[few]
    named = listed([str(row + 1) for row in at], most=NAMED)
    have, their = ("has", "its") if len(few) == 1 else ("have", "their")
    return (
        f"{counted(len(few), 'item')} {have} fewer than {FEW} effective draws of {DRAWS:,} (row {named}): "
        f"{their} bound and its error are not to be trusted, nor is the mean. An entry may be far from all "
        "others, or the guide may need more steps"
    )


def evidence_name(offset: str) -> str:
    """What the evidence of counts is of, in words: offsets that are totals are of the counts themselves."""
    return "log evidence given the items' totals" if offset == "total" else "log evidence"


def importance_bound(
    model: GeneralisedLinear,
    x: Matrix,
    offsets: Array | None,
    parts: Iterable[Gaussian],
    num_samples: int = DRAWS,
    seed: int = 0,
) -> EvidenceBound:
    """The bound for items `x` (N, D), NaN where missing, with offsets (N,), by posteriors of them in parts.

    num_samples: S ≥ 2 draws an item; those of an item depend on its place and on no other item.
    """
    found = np.empty((5, len(x)))
    for rows, draws in _drawn(model, x, offsets, parts, num_samples, seed):
        found[:3, rows] = _summed(draws.log_weights)
        ratio = draws.log_ratio
        found[3, rows] = ratio.mean(axis=0)
        many = len(ratio) > 1
        found[4, rows] = ratio.std(axis=0, ddof=1) / np.sqrt(len(ratio)) if many else np.inf
    return EvidenceBound(*found)


def weighted_draws(
    model: GeneralisedLinear,
    x: Matrix,
    offsets: Array | None,
    parts: Iterable[Gaussian],
    num_samples: int = DRAWS,
    seed: int = 0,
) -> tuple[Array, Array]:
    """Draws a (S, N, K) of the latents of items `x` (N, D), and weights (S, N) of sum 1 an item.

    Weighted means are those of the model's own posterior, as far as the weights reach; otherwise as
    `importance_bound`.
    """
    latents = np.empty((num_samples, len(x), model.num_components))
    weights = np.empty((num_samples, len(x)))
    for rows, draws in _drawn(model, x, offsets, parts, num_samples, seed):
        latents[:, rows] = draws.latents
        weights[:, rows] = scipy.special.softmax(draws.log_weights, axis=0)
    return latents, weights


@dataclass(frozen=True, eq=False)
class _Draws:
    """latents: (S, N, K).  log_weights: (S, N).  log_ratio: log p(x, a) / q(a | x) of the guide's own."""

    latents: Array
    log_weights: Array
    log_ratio: Array


def _drawn(
    model: GeneralisedLinear,
    x: Matrix,
    offsets: Array | None,
    parts: Iterable[Gaussian],
    num_samples: int,
    seed: int,
) -> Iterator[tuple[slice, _Draws]]:
    """The draws of all items, with their places, some items at a time."""
    d, k = model.loadings.shape
    length = fitting(8 * num_samples * (d + k) * 4, max(len(x), 1), MATRIX_BYTES)
    for place, part in placed(parts):
        for some in spans(len(part.loc), length):
            rows = slice(place.start + some.start, place.start + some.stop)
            streams = [generator(seed, "importance", n) for n in range(rows.start, rows.stop)]
            noise = np.stack([s.standard_normal((num_samples, k)) for s in streams], axis=1)
            guide = Gaussian(part.loc[some], part.scale_tril[some])
            of = None if offsets is None else offsets[rows]
            yield rows, _draw(model, np.asarray(x[rows], np.float64), of, guide, noise)


def _draw(
    model: GeneralisedLinear, x: Array, offsets: Array | None, guide: Gaussian, noise: Array
) -> _Draws:
    """Of base noise (S, N, K), whose first tenth makes the prior's draws, and the others the guide's."""
    ours = max(1, round(PRIOR_SHARE * len(noise)))
    share = ours / len(noise)
    a = guide.loc + np.einsum("nkj,snj->snk", guide.scale_tril, noise)
    a[:ours] = model.loc + model.scale * noise[:ours]
    z = np.linalg.solve(guide.scale_tril, (a - guide.loc).transpose(1, 2, 0))  # (N, K, S)
    log_det = np.log(np.abs(np.diagonal(guide.scale_tril, axis1=-2, axis2=-1))).sum(-1)
    log_q = -0.5 * np.sum(z**2 + LOG_2PI, axis=1).T - log_det
    proposal = np.logaddexp(np.log1p(-share) + log_q, np.log(share) + model.log_prior(a))
    joint = model.log_joint(x, a, offsets)
    return _Draws(a, joint - proposal, (joint - log_q)[ours:])


def _summed(log_weights: Array) -> tuple[Array, Array, Array]:
    """Value, error and effective samples of log weights (S, N), each (N,)."""
    size = len(log_weights)
    value = np.asarray(scipy.special.logsumexp(log_weights, axis=0)) - np.log(size)
    relative = np.exp(log_weights - value)  # of mean 1
    error = relative.std(axis=0, ddof=1) / np.sqrt(size)
    return value, error, size / np.mean(relative**2, axis=0)
