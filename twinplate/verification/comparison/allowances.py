"""Differences that are a framework's own inaccuracy, not a mistake of the port.

A difference of a log density is allowed only if the site's family is in the table of known
inaccuracies, the distribution's arguments and the value agree by the rule of `rounding`, and the
difference is within the listed bound. The loss may then differ by as much as these densities do, and
a gradient by the listed bound for every number of these sites.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.special import expit, softmax

from twinplate.records.record import Array, Run, Site
from twinplate.verification.comparison.findings import Finding
from twinplate.verification.comparison.inaccuracies import Inaccuracy, known
from twinplate.verification.comparison.numbers import DrawPair, densities

NORMALISED = ("Categ", "Multinom", "OneHot")  # families whose probs sum to 1


def allowed(findings: list[Finding], pair: DrawPair) -> list[Finding]:
    """The findings of one draw, as notes where a known inaccuracy of a framework explains them."""
    allowances = Allowances(pair)
    densities_allowed = [allowances.density(finding) for finding in findings]
    return [allowances.total(finding) for finding in densities_allowed]


@dataclass
class Allowances:
    """What the densities of one draw allow: filled by `density`, site by site, and used by `total`.

    loss: how much the loss may differ.  gradient: how much each gradient may, relative to max(1, |g|).
    sites: names of the sites that allow it.
    """

    pair: DrawPair
    loss: float = 0.0
    gradient: float = 0.0
    sites: list[str] = field(default_factory=list)

    def density(self, finding: Finding) -> Finding:
        """The finding as a note, if the site's family explains it; otherwise as it is."""
        if finding.stage != "density" or finding.level != "difference":
            return finding
        sites = [
            getattr(self.pair.run(which), finding.program)[finding.site]
            for which in ("first", "second")
        ]
        frameworks = self.pair.first.framework, self.pair.second.framework
        found = [known(f, site.family) for f, site in zip(frameworks, sites, strict=True)]
        reasons = [inaccuracy for inaccuracy in found if inaccuracy is not None]
        judged = densities(self.pair, finding.program, finding.site)
        if not reasons or judged is None or not self._same_distribution(finding, *sites):
            return finding
        _, a, b = judged
        scale = max(np.abs(site.scale).max() for site in sites) * max(
            1, sites[0].log_prob.size // a.size
        )
        size = np.maximum(scale, np.maximum(np.abs(a), np.abs(b)))
        if not (np.abs(a - b) <= sum(r.log_density for r in reasons) * size).all():
            return finding
        self.loss += float(np.abs(a - b).sum())
        self.gradient += sum(r.gradient for r in reasons) * float(size.sum())
        self.sites.append(finding.site)
        worst = max(reasons, key=lambda inaccuracy: inaccuracy.log_density)
        return replace(finding, level="note", message=f"{finding.message}. {_reason(worst)}")

    def _same_distribution(self, finding: Finding, first: Site, second: Site) -> bool:
        """Whether value and arguments agree, and all arguments could be compared."""
        names = [arguments_of(site).keys() for site in (first, second)]
        if not names[0] or names[0] != names[1]:
            return False
        picks = [self._pick(finding, name) for name in names[0]]
        try:
            return all(self.pair.judged(pick)[0].verdict == "same" for pick in picks)
        except ValueError:
            return False

    def _pick(self, finding: Finding, name: str) -> Callable[[Run], Array]:
        shapes = [
            arguments_of(getattr(self.pair.run(w), finding.program)[finding.site])[name].shape
            for w in ("first", "second")
        ]
        shape = np.broadcast_shapes(*shapes)

        def pick(run: Run) -> Array:
            site = getattr(run, finding.program)[finding.site]
            return np.broadcast_to(arguments_of(site)[name], shape)

        return pick

    def total(self, finding: Finding) -> Finding:
        """A finding about loss or gradient as a note, if the densities allowed to differ explain it."""
        judged = finding.stage in ("loss", "gradient") and finding.level == "difference"
        if not self.sites or not judged:
            return finding
        difference, size = _difference(finding, self.pair)
        limit = self.loss * (1 + 1e-6) if finding.stage == "loss" else self.gradient * size
        if not difference <= limit:
            return finding
        text = f"Within the inaccuracy of the density of {', '.join(self.sites)}"
        return replace(finding, level="note", message=f"{finding.message}. {text}")


def arguments_of(site: Site) -> dict[str, Array]:
    """The site's value and its distribution's arguments, logits as probs."""
    found = {**site.arguments}
    if "logits" in found and "probs" not in found:
        logits = found.pop("logits")
        normalised = site.family.startswith(NORMALISED)
        found["probs"] = softmax(logits, axis=-1) if normalised else expit(logits)
    if site.value is not None:
        found["value"] = site.value
    return found


def _difference(finding: Finding, pair: DrawPair) -> tuple[float, float]:
    """Largest difference of loss or gradient, and the size it is measured by."""
    runs = [pair.run(which) for which in ("first", "second")]
    if finding.stage == "loss":
        a, b = (np.asarray(run.loss, np.float64) for run in runs)
    else:
        a, b = (np.asarray(run.parameters[finding.site].gradient, np.float64) for run in runs)
    return float(np.abs(a - b).max()), max(1.0, float(np.abs(a).max()))


def _reason(inaccuracy: Inaccuracy) -> str:
    name = {"pyro": "Pyro", "numpyro": "NumPyro"}[inaccuracy.framework]
    return (
        f"The arguments and the value agree: {name}'s {inaccuracy.family} is inaccurate "
        f"{inaccuracy.condition} ({inaccuracy.reason})"
    )
