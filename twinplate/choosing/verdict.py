"""What to take, in sentences, and as plain data."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

import numpy as np

from twinplate.choosing.rule import Choice, choose
from twinplate.choosing.trials import Trial
from twinplate.data.blocks import Array
from twinplate.programs.config import TrainingConfig
from twinplate.words import counted

AS_FAST = 1.1  # times as long: nothing to choose by
FEW = 30  # items, of fewer of which the mean is not normal enough to be certain of anything
TRIED_NEXT = 40  # components more, at most
STEPS = TrainingConfig().steps  # of the fit that a backend is chosen for


@dataclass(frozen=True, eq=False)
class Verdict:
    """components: that were tried, (C,), and `by_components`, the choice among them.

    trials: by covariance and backend.  by_covariance: among `covariances`, by what the guides reach on
    held-out items; None without trials.  items: that were looked at.
    options: more words for the command.  none_as_good: whether a model without components is behind the
    chosen one by no more than one standard error.
    most: components that the features can tell apart and the items be fitted with.  data: as the command
    names them.  ruling: what the item is called that rules the standard error, if one does.
    notes: what is to be said of the data.
    drawn: of counts, the standard errors (C,) that their draws leave of the means; None of exact ones.
    """

    components: tuple[int, ...]
    by_components: Choice
    trials: tuple[Trial, ...]
    items: int
    options: tuple[str, ...] = ()
    none_as_good: bool = False
    most: int = 10**6
    data: str = "DATA"
    ruling: str = ""
    notes: tuple[str, ...] = ()
    drawn: Array | None = None

    @property
    def evidence(self) -> str:
        """What items are scored by, in words."""
        return "log evidence" if self.drawn is None else "bound on the log evidence"

    @property
    def k(self) -> int:
        """The chosen number of components."""
        return self.components[self.by_components.chosen]

    @property
    def covariances(self) -> tuple[str, ...]:
        """From the simplest to the most complex."""
        return tuple(dict.fromkeys(trial.covariance for trial in self.trials))

    @property
    def by_covariance(self) -> Choice | None:
        """Each covariance by the mean of its backends."""
        if not self.trials:
            return None
        columns = [
            np.mean([t.elbo for t in self.trials if t.covariance == covariance], axis=0)
            for covariance in self.covariances
        ]
        return choose(np.column_stack(columns))

    @property
    def covariance(self) -> str:
        """The chosen one; "" without trials."""
        found = self.by_covariance
        return "" if found is None else self.covariances[found.chosen]

    @property
    def ranked(self) -> list[Trial]:
        """The trials of the chosen covariance, the one that would take least time first."""
        chosen = [trial for trial in self.trials if trial.covariance == self.covariance]
        return sorted(chosen, key=lambda trial: trial.total_seconds(STEPS))

    @property
    def command(self) -> str:
        """That fits what was chosen."""
        words = f"twinplate fit {shlex.quote(self.data)} --components {self.k}"
        if self.trials:
            words += f" --covariance {self.covariance} --backend {self.ranked[0].backend}"
        more = f" {shlex.join(self.options)}" if self.options else ""
        return f"{words}{more} --out RUN"


def sentences(verdict: Verdict) -> list[str]:
    """The choice in one sentence, then why, part by part."""
    take = f"Take {counted(verdict.k, 'component')}"
    if verdict.trials:
        take += f" with a {verdict.covariance} covariance, by {verdict.ranked[0].backend}"
    return [f"{take}: {verdict.command}", *_why_components(verdict), *_why_covariance(verdict)]


def _why_components(verdict: Verdict) -> list[str]:
    found, components = verdict.by_components, verdict.components
    none = ["A model without components is as good: the features may have nothing in common."]
    if len(components) == 1:
        only = f"No other number of components than {components[0]} was tried."
        return [only, *(none if verdict.none_as_good else ())]
    k, best = verdict.k, components[found.best]
    if k == best:
        why = f"{k} has the highest {verdict.evidence} of held-out items"
    else:
        why = (
            f"{k} is the fewest within one standard error of the best, {best}, behind it by "
            f"{_nats(-found.behind[found.best], found.error[found.best])}"
        )
    if found.chosen:
        fewer = found.chosen - 1
        difference = _nats(found.behind[fewer], found.error[fewer])
        why += f"; {components[fewer]} would be worse by {difference}"
    lines = [
        f"{why}. In {found.certainty:.0%} of resamples of the items it is the same: "
        f"{_certain(found.certainty, verdict.items)}."
    ]
    if found.chosen == len(components) - 1:
        lines.append(_at_the_end(verdict))
    if verdict.ruling and verdict.items >= FEW:  # of a few one often does
        lines.append(
            f"One item, {verdict.ruling}, makes most of the standard error: look at it, and choose again "
            "without it."
        )
    return [*lines, *(none if verdict.none_as_good else ())]


def _at_the_end(verdict: Verdict) -> str:
    k, most = verdict.k, verdict.most
    if k < most:
        more = min(2 * k, most, k + TRIED_NEXT)
        return f"{k} is the most that was tried: try more, by --components {k}-{more}; {most} is the bound."
    return (
        f"{k} is the most that was tried, and no more than {most} can be told apart by these data."
    )


def _certain(share: float, items: int) -> str:
    if items < FEW:
        return f"a guess, as {counted(items, 'item')} are few"
    return "certain" if share >= 0.95 else "likely" if share >= 0.7 else "a guess"


def _why_covariance(verdict: Verdict) -> list[str]:
    found, trials = verdict.by_covariance, verdict.ranked
    if found is None:
        return []
    gap = float(np.mean(trials[0].evidence - trials[0].elbo))
    why = f"The {verdict.covariance} covariance misses {gap:.2g} nats per held-out item of the "
    why += "exact evidence" if verdict.drawn is None else "bound"
    if found.chosen:
        worse = _nats(found.behind[found.chosen - 1], found.error[found.chosen - 1])
        why += f"; {verdict.covariances[found.chosen - 1]} would reach less by {worse}"
    elif len(verdict.covariances) > 1:
        why += ", and no other reaches more than that by more than chance"
    lines = [f"{why}."]
    if len(trials) > 1:
        fast, slow = trials[0], trials[1]
        ratio = slow.total_seconds(STEPS) / fast.total_seconds(STEPS)
        lines.append(
            f"{fast.backend} takes {fast.total_seconds(STEPS):.2g} s for {STEPS:,} steps on this machine, "
            f"compiling included; {slow.backend} {f'{ratio:.1f} times' if ratio > AS_FAST else 'about'} as "
            "long."
        )
    return lines


def _nats(difference: float, error: float) -> str:
    return f"{difference:.2g} ± {error:.1g} nats per item"


def _evidence(verdict: Verdict, i: int) -> dict[str, float]:
    mean = float(verdict.by_components.mean[i])
    if verdict.drawn is None:
        return {"log_evidence": mean}
    return {"evidence_bound": mean, "evidence_bound_error": float(verdict.drawn[i])}


def as_dict(verdict: Verdict) -> dict[str, Any]:
    """Plain data, for JSON."""
    found = verdict.by_components
    rows = [
        {
            "components": k,
            **_evidence(verdict, i),
            "behind_chosen": float(found.behind[i]),
            "standard_error": float(found.error[i]),
        }
        for i, k in enumerate(verdict.components)
    ]
    trials = [
        {
            "covariance": trial.covariance,
            "backend": trial.backend,
            "elbo": float(trial.elbo.mean()),
            "log_evidence" if verdict.drawn is None else "evidence_bound": float(
                trial.evidence.mean()
            ),
            "compile_seconds": trial.compile_seconds,
            "step_seconds": trial.step_seconds,
        }
        for trial in verdict.trials
    ]
    chosen: dict[str, Any] = {"components": verdict.k, "certainty": found.certainty}
    if verdict.trials:
        chosen |= {"covariance": verdict.covariance, "backend": verdict.ranked[0].backend}
    return {
        "items": verdict.items,
        "none_as_good": verdict.none_as_good,
        "chosen": chosen,
        "command": verdict.command,
        "sentences": sentences(verdict),
        "notes": list(verdict.notes),
        "components": rows,
        "trials": trials,
    }
