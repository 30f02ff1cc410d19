"""Known traps: when a finding looks like one, the message says so and how to mend it.

An explanation never changes a verdict. What is certain from the numbers is stated; what is only
likely begins with "Perhaps".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from twinplate.verification.comparison import program_mistakes as traps_programs
from twinplate.verification.comparison import site_mistakes as traps_sites
from twinplate.verification.comparison.context import Scene
from twinplate.verification.comparison.findings import Finding
from twinplate.verification.comparison.numbers import Pair

Trap = Callable[[Scene], str | None]
TRAPS: tuple[Trap, ...] = (
    traps_programs.score_function,
    traps_programs.enumerated_scan,
    traps_programs.mean_field,
    traps_programs.packed_flow,
    traps_programs.plate_in_scan,
    traps_programs.gradient_alone,
    traps_sites.scaling,
    traps_sites.subsampled,
    traps_sites.masked,
    traps_sites.event_dims,
    traps_sites.prebuilt_plates,
    traps_sites.unnormalised,
    traps_sites.reparametrised,
    traps_sites.swapped,
    traps_sites.probs_and_logits,
    traps_sites.biased_deviation,
    traps_programs.index,
    traps_programs.downcast,
    traps_programs.gelu,
    traps_programs.layer_norm,
    traps_programs.layers_by_order,
    traps_programs.square_weight,
    traps_sites.differing_arguments,
)


def explained(finding: Finding, pair: Pair) -> Finding:
    """The finding with the first explanation that fits added to its message."""
    if finding.level == "note" and finding.stage != "shape":
        return finding
    sites = [
        getattr(pair.run(which), finding.program).get(finding.site)
        if finding.program in ("model", "guide")
        else None
        for which in ("first", "second")
    ]
    scene = Scene(finding, pair, *sites)
    with np.errstate(all="ignore"):
        for trap in TRAPS:
            text = trap(scene)
            if text:
                return replace(finding, message=f"{finding.message}. {text}")
    return finding
