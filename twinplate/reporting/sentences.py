"""What the figures mean, in one sentence each, with how good that is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite

from twinplate.data.blocks import Array
from twinplate.programs.importance import evidence_name, few_draws
from twinplate.reporting.agreement import Agreement
from twinplate.reporting.calibration import NAMED
from twinplate.reporting.gaps import equivalent_shift, tone_of
from twinplate.reporting.losses import UNSEEN, fall, rise, trend
from twinplate.reporting.ranking import (
    best_of,
    best_ones,
    comparable,
    same_data,
    same_features,
    same_kind,
)
from twinplate.reporting.runs import ReportedRun
from twinplate.words import counted

MARKS = {
    "same": "good",
    "note": "note",
    "undecided": "fair",
    "difference": "poor",
    "unknown": "cannot tell",
}
ENDS = ", those at the ends by the chance that makes whole numbers come to the same"
MILD = 0.05  # of a coverage that is too low


@dataclass(frozen=True)
class Remark:
    """tone: "same" (good), "note", "undecided" (fair), "difference" (poor) or "unknown" (cannot tell).

    section: of the page, by its id, that shows what `text` says.
    """

    tone: str
    section: str
    text: str


def headline(runs: Sequence[ReportedRun]) -> Remark:
    """The first sentence of the page."""
    if not comparable(runs):
        return Remark("note", "runs", _not_comparable(runs))
    best, ones = best_of(runs), best_ones(runs)
    among = _among(runs, ones)
    several = len(ones) > 1
    gaps = best.gaps
    if gaps is None:
        if not isfinite(best.last_loss):
            return Remark("note", "losses", f"{among}, without a loss yet")
        ends = "ended" if len(runs) == 1 else "which ended" if not several else "ending"
        sign = "" if len(runs) == 1 else ","
        return Remark(
            "note",
            "losses",
            f"{among}{sign} {ends} at a loss of {best.last_loss:.4g} nats per item",
        )
    evidence = f"log evidence {gaps.mean_evidence:.4g} nats per item, exact"
    if best.is_bound:
        value = f"{gaps.mean_evidence:.4g} ± {gaps.error:.1g} nats per item"
        evidence = f"{evidence_name(best.saved.program.config.offset)} {value}, an importance-weighted bound"
    text = f"{among}: {evidence}"
    if best.below is not None:
        unlike = f"{text}, {best.below:.3g} below its training: the data are not like those"
        return Remark("difference", "runs", unlike)
    if gaps.gap is None:
        return Remark("note", "gaps", text)
    tone = tone_of(gaps.gap, gaps.components)
    guide = "their guides miss about" if several else "its guide misses"
    return Remark(tone, "gaps", f"{text}; {guide} {gaps.gap:.2g} nats of it")


def _not_comparable(runs: Sequence[ReportedRun]) -> str:
    number = counted(len(runs), "run")
    if not same_features(runs):
        return f"{number} of different features, which cannot be compared"
    if not same_kind(runs):
        return (
            f"{number} of normal densities beside counts, or with other offsets, whose evidence cannot be "
            "compared"
        )
    return (
        f"{number} on different data, which their losses cannot compare; --data DATA compares them on the "
        "same items"
    )


def _among(runs: Sequence[ReportedRun], ones: Sequence[ReportedRun]) -> str:
    names = " and ".join(run.name for run in ones)
    if len(runs) == 1:
        return names
    if len(ones) == 1:
        return f"The best of {counted(len(runs), 'run')} is {names}"
    if len(ones) == len(runs):
        return f"{names} are as good as each other"
    return f"The best of {counted(len(runs), 'run')} are {names}, as good as each other"


def remarks(runs: Sequence[ReportedRun], pairs: Sequence[Agreement]) -> list[Remark]:
    """Everything that is to be said, section by section."""
    found = [*_about_data(runs)]
    settled = [run.name for run in runs if _has_settled(run)]
    if settled:
        text = "has settled: its loss no longer falls"
        if len(settled) > 1:
            text = "have settled: their losses no longer fall"
        found.append(Remark("same", "losses", f"{', '.join(settled)} {text}"))
    for part in (of_course, of_gap, of_draws, of_calibration):
        found += [remark for run in runs if (remark := part(run))]
    return found + [of_agreement(pair) for pair in pairs]


def _about_data(runs: Sequence[ReportedRun]) -> Iterator[Remark]:
    if not same_data(runs):
        yield Remark(
            "undecided", "runs", "the runs were trained on different data: compare no losses"
        )
    new = [run.name for run in runs if run.gaps is not None and not run.own_data]
    if new:
        yield Remark(
            "note",
            "runs",
            f"the data are not those that {', '.join(new)} {'was' if len(new) == 1 else 'were'} trained "
            "on: evidence, gaps and predictions are of new items",
        )
    for run in runs:
        if run.below is not None:
            yield Remark(
                "difference",
                "runs",
                f"the data are not like those that {run.name} was trained on: their "
                f"{'bound on the' if run.is_bound else 'exact'} log evidence is "
                f"{run.below:.3g} nats per item below what its training reached. Look at the data first; "
                "more steps do not help",
            )


def _course(run: ReportedRun) -> Array:
    """What is to fall: what the steps miss of the exact answer, or where it is not known their losses."""
    return run.fit.losses if run.missed is None else run.missed


def _is_encoders(run: ReportedRun) -> bool:
    """Whether the gap is poor and most of it the encoder's, on data that are like those of the training."""
    gaps = run.gaps
    if gaps is None or gaps.gap is None or gaps.family_gap is None or run.below is not None:
        return False
    poor = tone_of(gaps.gap, gaps.components) == "difference"
    return poor and gaps.family_gap <= gaps.gap / 2


def _trend(run: ReportedRun) -> str:
    """How its course ends; a fall that ten times more such steps would make a good guide is to be seen."""
    if not len(run.fit.losses):
        return "cannot tell"
    gap = run.gaps.gap if run.gaps is not None else None
    return trend(_course(run), UNSEEN if gap is None or not _is_encoders(run) else gap / 10)


def _has_settled(run: ReportedRun) -> bool:
    return run.saved.is_finished and _trend(run) == "settled" and not _is_encoders(run)


def of_course(run: ReportedRun) -> Remark | None:
    """That training has not come to a good end, if it has not."""
    name = run.name
    if not run.saved.is_finished:
        steps = f"step {run.saved.step:,} of {run.saved.training.steps:,}"
        return Remark("undecided", "losses", f"{name} is unfinished, at {steps}")
    if not len(run.fit.losses) or _has_settled(run):
        return None
    if not isfinite(run.last_loss):
        return Remark("difference", "losses", f"{name} met a loss that is not finite")
    return Remark(*_of_end(run, _course(run)))


def _of_end(run: ReportedRun, course: Array) -> tuple[str, str, str]:
    """The tone, section and text on a finished run that has not settled well."""
    name, end = run.name, _trend(run)
    if end == "rises":
        tone, text = (
            "difference",
            f"{name} rises: the last tenth of the steps is {rise(course)[0]:.2g} nats per item above the "
            "lowest tenth; a lower --learning-rate may help",
        )
    elif end == "falls":
        steps = 2 * run.saved.training.steps
        tone, text = (
            "undecided",
            f"{name} still falls, by {fall(course)[0]:.2g} nats per item over the last tenth of the "
            f"steps: more may help (twinplate fit DATA --resume {name} --steps {steps})",
        )
    elif end == "cannot tell":
        tone, text = (
            "unknown",
            f"whether {name} has settled cannot be told by {counted(len(course), 'step')}: too few for "
            "how much they vary",
        )
    else:
        tone, text = "undecided", f"{name} no longer falls, but its encoder is far from exact"
    return tone, "losses", text


def of_gap(run: ReportedRun) -> Remark | None:
    """How good the guide is, and what would make it better."""
    gaps = run.gaps
    if gaps is None:
        return None
    if gaps.gap is None:
        return Remark("note", "gaps", f"{run.name}: no gaps, as {gaps.why}")
    tone, shift = tone_of(gaps.gap, gaps.components), equivalent_shift(gaps.gap, gaps.components)
    about = f" ± {gaps.gap_error:.1g}" if run.is_bound else ""
    text = (
        f"{run.name} misses {gaps.gap:.2g}{about} nats per item, as if the mean of each latent were off by "
        f"{shift:.2g} of its standard deviation: {MARKS[tone]}"
    )
    if tone == "same":
        return Remark(tone, "gaps", text)
    return Remark(tone, "gaps", f"{text}. {_remedy(run, gaps.gap, gaps.family_gap)}")


def _remedy(run: ReportedRun, gap: float, family: float | None) -> str:
    config = run.saved.program.config
    if run.below is not None:
        return "The data are not like those of the training: more steps on those would not help"
    if run.is_bound:
        more = (
            "" if config.covariance == "full" else ", or the auxiliary guide with covariance full"
        )
        return f"More steps or a lower --learning-rate may come closer{more}"
    if family is None:
        return f"A rank above {config.rank}, or the covariance full, may come closer"
    if family > gap / 2:
        return (
            f"{family:.2g} of it is what no diagonal covariance can express: take the auxiliary guide "
            "with covariance full"
        )
    if run.saved.is_finished and _trend(run) == "settled":
        return "Most of it is the encoder's, which has settled: a lower --learning-rate may come closer"
    return "Most of it is the encoder's: train for more steps"


def of_draws(run: ReportedRun) -> Remark | None:
    """That the bound on the evidence of counts has too few effective draws, if it has."""
    gaps = run.gaps
    if gaps is None or gaps.bound is None:
        return None
    few = few_draws(gaps.bound.effective_draws, gaps.items)
    return Remark("undecided", "gaps", f"{run.name}: {few}") if few else None


def of_calibration(run: ReportedRun) -> Remark | None:
    """Whether the predictions are as certain as they say."""
    found = run.calibration
    if found is None:
        return None
    share, error = found.coverage(NAMED)
    entries = counted(len(found.z), "hidden entry", "hidden entries")
    if found.verdict == "too few to say":
        text = f"whether {run.name} is calibrated cannot be told by {entries}: too few"
        return Remark("unknown", "predictions", text)
    too_sure = "difference" if share < NAMED - MILD else "undecided"
    tone = {"calibrated": "same", "not sure enough": "note", "too sure": too_sure}[found.verdict]
    said = "well calibrated" if found.verdict == "calibrated" else found.verdict
    return Remark(
        tone,
        "predictions",
        f"{run.name} is {said}: its {NAMED:.0%} intervals hold {share:.1%} (± {error:.1%}) of "
        f"{entries}{ENDS * run.is_bound}",
    )


def of_agreement(pair: Agreement) -> Remark:
    """Whether two runs by different frameworks came to the same."""
    parts = [f"correlations of the features within {pair.covariance:.2g}"]
    if pair.evidence is not None:
        about = f" (± {pair.error:.1g})" if pair.error else ""
        parts.insert(0, f"log evidence {abs(pair.evidence):.1g}{about} nats per item apart")
    if pair.predictions is not None:
        parts.append(f"predictions {pair.predictions:.1g} standard deviations apart")
    agree = "agree" if pair.ok else "do not agree"
    return Remark(
        "same" if pair.ok else "difference",
        "frameworks",
        f"{pair.first} and {pair.second} {agree}: {', '.join(parts)}",
    )
