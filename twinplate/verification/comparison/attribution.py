"""Which site a difference of the loss is of: a loss is a sum over its sites, and never differs by itself.

Where a site's numbers differ it is that site. Else the framework makes something of its own of a latent:
the Jacobian of its support in a potential energy, a divergence or a sum over its values in an ELBO.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from twinplate.verification.comparison.findings import LEVELS, Finding
from twinplate.verification.comparison.numbers import WHICH, DrawPair
from twinplate.verification.comparison.shared_faults import DISCRETE

AGREEMENT = 1e-9  # relative, of unconstrained values
SLACK = 1 + 1e-6  # for the rounding of sums


def attributed(findings: list[Finding], pair: DrawPair) -> list[Finding]:
    """The findings of one draw: that of the loss names a site, or is a note if rounding of sites is all."""
    return [_attributed(f, findings, pair) if f.stage == "loss" else f for f in findings]


def _attributed(finding: Finding, findings: list[Finding], pair: DrawPair) -> Finding:
    differing = [f for f in findings if f.stage in ("value", "density")]
    differing.sort(key=lambda f: LEVELS.index(f.level))
    changes = dict(_changes(pair))
    rounding = not differing and _change(finding, pair) <= sum(changes.values()) * SLACK
    if rounding and finding.level != "note":
        text = f"{finding.message}. Its sites are the same, and their rounding adds up to this"
        finding = replace(finding, level="note", message=text)
    widest = sorted(changes, key=changes.__getitem__, reverse=True)
    summed = [name for name, _ in enumerated_alone(pair)]
    named = [f.site for f in differing] or [*_images(pair), *summed, *_latents(pair), *widest]
    return replace(finding, site=named[0])


def _change(finding: Finding, pair: DrawPair) -> float:
    first, second = (np.asarray(pair.run(which).loss, dtype=np.float64) for which in WHICH)
    return float(np.abs(first - second).max())


def _changes(pair: DrawPair) -> Iterator[tuple[str, float]]:
    """How far the programs' log densities of each site, summed, are apart."""
    for program in ("model", "guide"):
        first, second = (getattr(pair.run(which), program) for which in WHICH)
        for name, site in first.items():
            other = second.get(name)
            if other is None or site.log_prob is None or other.log_prob is None:
                continue
            with np.errstate(invalid="ignore"):  # both infinite
                yield name, float(np.abs(site.total - other.total).max())


def enumerated_alone(pair: DrawPair) -> list[tuple[str, str]]:
    """Latents that `TraceEnum_ELBO` sums over in one program alone: (site, "model" or "guide")."""
    if pair.first.settings.loss != "TraceEnum_ELBO":
        return []
    return [
        (name, program)
        for program in ("model", "guide")
        for first, second in [[getattr(pair.run(which), program) for which in WHICH]]
        for name, site in first.items()
        if name in second and site.enumerated != second[name].enumerated
    ]


def _images(pair: DrawPair) -> Iterator[str]:
    """Latents without a guide whose unconstrained values, by the frameworks' own maps, differ."""
    first, second = (pair.run(which).parameters for which in WHICH)
    for name, parameter in first.items():
        if parameter.constraint != "unconstrained" or name not in second:
            continue
        a, b = parameter.value, second[name].value
        if a.shape != b.shape or not np.allclose(a, b, rtol=AGREEMENT, atol=0.0):
            yield name


def _latents(pair: DrawPair) -> list[str]:
    """Latents, first those that a loss may make something of its own of.

    It sums over discrete ones; a `Delta` has a density, the Jacobian of the map that made its value; a
    support that is not the real line has a map.
    """
    run = pair.run("first")
    latents = {n: s for n, s in {**run.model, **run.guide}.items() if s.kind == "latent"}

    def order(name: str) -> tuple[bool, bool, bool]:
        site = latents[name]
        mapped = bool(np.any(site.arguments.get("log_density", 0.0)))
        return site.support not in DISCRETE, not mapped, site.support == "real"

    return sorted(latents, key=order)
