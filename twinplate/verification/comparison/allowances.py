"""Differences that are a framework's own inaccuracy, not a mistake of the port.

A difference of a log density is allowed only if the site's family is in the table of known
inaccuracies, the distribution's arguments and the value agree by the rule of `rounding`, and the
difference is within the listed bound. The loss may then differ by as much as these densities do, and
a gradient by the listed bound for every number of these sites, and of those where a family's gradient
alone is inaccurate. A function that a program calls itself, or its derivative, may be inaccurate too
(`functions`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from twinplate.verification.comparison.findings import Finding
from twinplate.verification.comparison.functions import explains, inaccurate_functions
from twinplate.verification.comparison.inaccuracies import Inaccuracy
from twinplate.verification.comparison.numbers import DrawPair
from twinplate.verification.comparison.site_inaccuracy import SiteInaccuracy, site_inaccuracy

UNJUDGED = "unjudged"  # level of a gradient in one draw, until those of the other draws are known


def allowed(findings: list[Finding], pair: DrawPair) -> list[Finding]:
    """The findings of one draw, as notes where a known inaccuracy of a framework explains them."""
    allowances = Allowances(pair)
    findings = [allowances.density(finding) for finding in findings]
    findings = [allowances.total(finding) for finding in findings]
    for _ in ("values", "their gradients"):
        stages = {finding.stage for finding in findings if finding.level == "difference"}
        findings = [allowed_function(finding, pair, stages) for finding in findings]
    return findings


def allowed_function(finding: Finding, pair: DrawPair, stages: set[str]) -> Finding:
    """The finding as a note, if an inaccurate function explains it.

    stages: in which there are differences in this draw. A gradient is explained only if nothing else
        differs.
    """
    if finding.level != "difference" or (finding.stage == "gradient" and stages != {"gradient"}):
        return finding
    found = [f.reason for f in inaccurate_functions(pair) if explains(f, finding, pair)]
    if not found:
        return finding
    text = f"No more than an inaccurate function makes it: {'; or '.join(found)}"
    return replace(finding, level="note", message=f"{finding.message}. {text}")


def settled(findings: list[Finding], draws: int) -> list[Finding]:
    """The findings of all draws: a gradient that none of them could judge is undecided, else a note."""
    unjudged = Counter(f.place for f in findings if f.level == UNJUDGED)
    levels = {place: "undecided" if n == draws else "note" for place, n in unjudged.items()}
    return [replace(f, level=levels[f.place]) if f.level == UNJUDGED else f for f in findings]


@dataclass
class Allowances:
    """What the densities of one draw allow: `sites` is filled by `density` and used by `total`."""

    pair: DrawPair
    sites: dict[tuple[str, str], SiteInaccuracy] = field(default_factory=dict)

    def density(self, finding: Finding) -> Finding:
        """The finding as a note, if the site's family explains it; otherwise as it is.

        One that is undecided, too, if the densities have a bound: without one it stays undecided.
        """
        if finding.stage != "density" or finding.level == "note":
            return finding
        found = site_inaccuracy(self.pair, finding.program, finding.site)
        if found is None:
            return finding
        self.sites[finding.program, finding.site] = found
        if finding.level == "undecided" and not found.bounded:
            return finding
        return replace(finding, level="note", message=f"{finding.message}. {_reason(found.reason)}")

    def total(self, finding: Finding) -> Finding:
        """A finding about loss or gradient as a note, if the densities allowed to differ explain it."""
        if finding.level == "note" or finding.stage not in ("loss", "gradient"):
            return finding
        difference, size = _difference(finding, self.pair)
        here = list(self.sites.values())
        limit = sum(site.loss for site in here) * (1 + 1e-6)
        if finding.stage == "gradient":
            limit = sum(site.gradient for site in here) * size
            if not _within(difference, limit):
                limit += sum(site.beyond for site in self._others) * size
                here += self._others
        if not (here and _within(difference, limit)):
            return finding
        if finding.level == "undecided" and not all(site.bounded for site in here):
            return finding
        sites = ", ".join(dict.fromkeys(site.site for site in here))
        if np.isfinite(limit) or finding.stage == "loss":
            text = f"Within the inaccuracy of the density of {sites}"
            return replace(finding, level="note", message=f"{finding.message}. {text}")
        return self._unjudged(finding, sites)

    def _unjudged(self, finding: Finding, sites: str) -> Finding:
        """A gradient that sites with no bound may have spoilt: a note, if some of it was judged."""
        gradient, _, _ = self.pair.judged(lambda run: run.parameters[finding.site].gradient)
        level = "note" if (gradient.codes == 0).any() else UNJUDGED
        text = f"It cannot be judged there: the density of {sites} has no exact gradient"
        return replace(finding, level=level, message=f"{finding.message}. {text}")

    @cached_property
    def _others(self) -> list[SiteInaccuracy]:
        """Sites whose densities agree, but beyond where their gradients are exact."""
        run = self.pair.run("first")
        places = [(p, name) for p in ("model", "guide") for name in getattr(run, p)]
        found = [site_inaccuracy(self.pair, *place) for place in places if place not in self.sites]
        return [site for site in found if site is not None and site.beyond]


def _difference(finding: Finding, pair: DrawPair) -> tuple[float, float]:
    """Largest difference of loss or gradient, and the size it is measured by."""
    runs = [pair.run(which) for which in ("first", "second")]
    if finding.stage == "loss":
        a, b = (np.asarray(run.loss, np.float64) for run in runs)
    else:
        a, b = (np.asarray(run.parameters[finding.site].gradient, np.float64) for run in runs)
    return float(np.abs(a - b).max()), max(1.0, float(np.abs(a).max()))


def _within(difference: float, limit: float) -> bool:
    """Of what is not a number, only where there is no limit: it may be of a density that has none left."""
    return difference <= limit or limit == np.inf


def _reason(inaccuracy: Inaccuracy) -> str:
    name = {"pyro": "Pyro", "numpyro": "NumPyro"}[inaccuracy.framework]
    return (
        f"The arguments and the value agree: {name}'s {inaccuracy.family} is inaccurate "
        f"{inaccuracy.condition} ({inaccuracy.reason})"
    )
