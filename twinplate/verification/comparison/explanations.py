"""Known mistakes of porting: when a finding looks like one, its message says so and how to mend it.

An explanation never changes a verdict. What is certain from the numbers is stated; what is only
likely begins with "Perhaps".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from twinplate.verification.comparison import (
    loss_mistakes,
    program_mistakes,
    scale_mistakes,
    site_mistakes,
)
from twinplate.verification.comparison.context import Context
from twinplate.verification.comparison.findings import Finding
from twinplate.verification.comparison.numbers import DrawPair

Explanation = Callable[
    [Context], str | None
]  # what to say of a finding, None where it does not fit

EXPLANATIONS: tuple[Explanation, ...] = (
    site_mistakes.spoilt_under_mask,
    loss_mistakes.enumerated_in_one,
    loss_mistakes.score_function,
    loss_mistakes.scaled_score,
    loss_mistakes.density_for_every_item,
    loss_mistakes.factor_inside,
    loss_mistakes.scan,
    loss_mistakes.lost_density,
    loss_mistakes.lost_mask,
    loss_mistakes.mean_field,
    loss_mistakes.shapes,
    loss_mistakes.batched_guide,
    program_mistakes.flow_order,
    loss_mistakes.unknown_ends,
    loss_mistakes.angles,
    loss_mistakes.gradient_alone,
    scale_mistakes.scaling,
    scale_mistakes.subsampled,
    scale_mistakes.weights,
    site_mistakes.masked,
    site_mistakes.event_dims,
    program_mistakes.steps_in_a_plate,
    program_mistakes.vectorised,
    program_mistakes.computed,
    program_mistakes.summed_out,
    program_mistakes.renamed,
    site_mistakes.whole_numbers,
    site_mistakes.prebuilt_plates,
    site_mistakes.unnormalised,
    site_mistakes.swapped_mean,
    site_mistakes.reparametrised,
    site_mistakes.swapped,
    site_mistakes.complement,
    site_mistakes.kindred,
    site_mistakes.biased_deviation,
    program_mistakes.index,
    program_mistakes.downcast,
    site_mistakes.rounded,
    program_mistakes.dropout,
    program_mistakes.gelu,
    program_mistakes.layer_norm,
    program_mistakes.layers_by_order,
    scale_mistakes.other_items,
    program_mistakes.square_weight,
    site_mistakes.truncated_away,
    site_mistakes.differing_arguments,
    site_mistakes.families,
)


def explained(finding: Finding, pair: DrawPair) -> Finding:
    """The finding with the first explanation that fits added to its message."""
    if finding.level == "note" and finding.stage != "shape":
        return finding
    sites = [
        getattr(pair.run(which), finding.program).get(finding.site)
        if finding.program in ("model", "guide")
        else None
        for which in ("first", "second")
    ]
    context = Context(finding, pair, *sites)
    with np.errstate(all="ignore"):
        for explanation in EXPLANATIONS:
            text = explanation(context)
            if text:
                return replace(finding, message=f"{finding.message}. {text}")
    return finding
