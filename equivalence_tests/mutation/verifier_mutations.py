"""Mistakes in the verifier itself, each with a case that it must turn red.

Each is a function `mutation(patch)`; only the comparison is spoilt, the records are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from twinplate.records.record import Record, Settings, Site
from twinplate.verification.comparison import (
    correspondence,
    numbers,
    pipeline,
    rounding,
    site_inaccuracy,
)
from twinplate.verification.comparison.findings import STAGES, Finding
from twinplate.verification.matching import sites

Patch = pytest.MonkeyPatch
Spoil = Callable[[Patch], None]


# -- what is compared ----------------------------------------------------------------------------------


def without_stage(stage: str) -> Spoil:
    """Findings of one stage forgotten."""

    def mutation(patch: Patch) -> None:
        ordered = pipeline.ordered
        patch.setattr(
            pipeline,
            "ordered",
            lambda findings, sites: ordered([f for f in findings if f.stage != stage], sites),
        )

    return mutation


def without_program(program: str) -> Spoil:
    """The model's or the guide's sites never compared."""

    def mutation(patch: Patch) -> None:
        original = pipeline._compare_program

        def spoilt(pair: Any, which: str, *rest: Any, **more: Any) -> Iterator[Finding]:
            return iter(()) if which == program else original(pair, which, *rest, **more)

        patch.setattr(pipeline, "_compare_program", spoilt)

    return mutation


def _of_draws(patch: Patch, keep: Callable[[str], bool]) -> None:
    draws = Settings.draws.fget  # type: ignore[attr-defined]
    kept = property(lambda self: {name: seed for name, seed in draws(self).items() if keep(name)})
    patch.setattr(Settings, "draws", kept)


def without_stress(patch: Patch) -> None:
    """The stress draw skipped."""
    _of_draws(patch, lambda name: name != "stress")


def stress_alone(patch: Patch) -> None:
    """Only the stress draw."""
    _of_draws(patch, lambda name: name == "stress")


def without_scale(patch: Patch) -> None:
    """Scales ignored."""
    original = pipeline.compare_densities

    def spoilt(pair: Any, program: str, name: str) -> Iterator[Finding]:
        records = [
            _with_sites(r, lambda s: replace(s, scale=1.0)) for r in (pair.first, pair.second)
        ]
        return original(numbers.DrawPair(*records, pair.draw), program, name)

    patch.setattr(pipeline, "compare_densities", spoilt)


def _with_sites(record: Record, change: Callable[[Site], Site]) -> Record:
    runs = {
        key: replace(
            run,
            model={name: change(site) for name, site in run.model.items()},
            guide={name: change(site) for name, site in run.guide.items()},
        )
        for key, run in record.runs.items()
    }
    return replace(record, runs=runs)


def summed_densities(patch: Patch) -> None:
    """Log densities compared by their sum alone."""
    _judging(patch, lambda arrays: [np.broadcast_to(a.sum(), a.shape) for a in arrays])


def first_element(patch: Patch) -> None:
    """Only the first number of every array compared."""
    _judging(patch, lambda arrays: [np.broadcast_to(a.ravel()[:1], a.shape) for a in arrays])


def _judging(patch: Patch, change: Callable[[list[Any]], list[Any]]) -> None:
    judge = numbers.judge

    def spoilt(*arrays: Any) -> rounding.Judgement:
        flat = [x for a in arrays for x in (a if isinstance(a, list) else [a])]
        changed = iter(change(flat))
        again = [
            [next(changed) for _ in a] if isinstance(a, list) else next(changed) for a in arrays
        ]
        return judge(*again)

    patch.setattr(numbers, "judge", spoilt)


# -- the rule ------------------------------------------------------------------------------------------


def constant(name: str, value: float) -> Spoil:
    """Another constant in the rule."""
    return lambda patch: patch.setattr(rounding, name, value)


def no_rounding_allowed(patch: Patch) -> None:
    """Every difference beyond a billionth of a billionth of the noise taken for a mistake."""
    patch.setattr(rounding, "ROUNDING_SHARE", 2.0**-60)
    patch.setattr(rounding, "SCATTER", 0.0)


def array_wide(patch: Patch) -> None:
    """The noise of the loudest number for all numbers of an array."""
    judge = rounding._judge

    def spoilt(a: Any, b: Any, single: Any, *responses: Any) -> rounding.Judgement:
        floor = rounding.ROUNDING_FLOOR * np.maximum(np.abs(a), np.abs(b))
        loudest = np.maximum(single, floor).max(initial=0.0)
        return judge(a, b, np.full_like(single, loudest), *responses)

    patch.setattr(rounding, "_judge", spoilt)


def relative_to_one(patch: Patch) -> None:
    """An absolute floor of the noise, as for numbers of size one."""
    single_noise = rounding._single_noise
    patch.setattr(
        rounding, "_single_noise", lambda *a: np.maximum(single_noise(*a), rounding.ROUNDING_FLOOR)
    )


def single_precision_alone(patch: Patch) -> None:
    """Double precision never used."""
    judge = numbers.judge
    patch.setattr(numbers, "judge", lambda a, b, a32, b32, *rest: judge(a32, b32, a32, b32))


def without_perturbation(patch: Patch) -> None:
    """The response to changed inputs taken for zero."""
    patch.setattr(rounding, "_response", lambda values, *rest: np.zeros_like(values))


def nan_is_the_same(patch: Patch) -> None:
    """Numbers that are not finite taken for equal ones."""
    _judging(
        patch, lambda arrays: [np.nan_to_num(a, nan=0.0, posinf=0.0, neginf=0.0) for a in arrays]
    )


def undecided_is_the_same(patch: Patch) -> None:
    """Findings that cannot be decided forgotten."""
    ordered = pipeline.ordered
    patch.setattr(
        pipeline,
        "ordered",
        lambda findings, sites: ordered([f for f in findings if f.level != "undecided"], sites),
    )


# -- what is allowed, and what corresponds -------------------------------------------------------------


def nothing_allowed(patch: Patch) -> None:
    """The table of known inaccuracies forgotten."""
    patch.setattr(site_inaccuracy, "known", lambda *names: None)


def arguments_not_compared(patch: Patch) -> None:
    """A family in the table allows any arguments."""
    patch.setattr(site_inaccuracy, "_same_distribution", lambda *given: True)


def dims_by_position(patch: Patch) -> None:
    """Dims correspond by their position, whatever their plates."""
    dims = sites.dims
    for module in (sites, correspondence):
        patch.setattr(module, "dims", lambda site: [replace(d, plate="") for d in dims(site)])


def undeclared_dims_allowed(patch: Patch) -> None:
    """A batch dim outside every plate taken for a restructuring."""
    patch.setattr(correspondence.Moved, "undeclared", property(lambda self: False))


def values_not_compared(patch: Patch) -> None:
    """Values compared nowhere."""
    patch.setattr(pipeline, "compare_values", lambda *arguments: iter(()))


# Spoil's name -> (mutation, the case that it must turn red: a mistake, or a correct pair's case)
CAST = "vae-single_precision_head"
STAGE_CASES = {
    "execution": "refactorings-features_outside",
    "sites": "eight_schools-data_not_passed",
    "plates": "minibatch_logistic-plate_of_the_batch",
    "support": "eight_schools-folded_normal",
    "shape": "hierarchical_regression-to_event_missing",
    "parameter": "hierarchical_regression-softplus_for_exp",
    "value": "prepared_data-biased_deviation",
    "density": "discrete_guide-beta_swapped",
    "loss": "mixture-not_enumerated",
    "gradient": "gradients-abs_at_zero",
}
VERIFIER_MUTATIONS: dict[str, tuple[Spoil, str]] = {
    **{f"without_{stage}": (without_stage(stage), STAGE_CASES[stage]) for stage in STAGES},
    "without_model": (without_program("model"), "eight_schools-variance_for_sd"),
    "without_guide": (without_program("guide"), "vae-tanh_gelu"),
    "without_stress": (without_stress, "minibatch_logistic-clipped_only_far_out"),
    "without_scale": (without_scale, "nested_subsampling-scale_forgotten"),
    "without_values": (values_not_compared, "prepared_data-biased_deviation"),
    "sums": (summed_densities, "crossed_effects-questions_and_students_exchanged"),
    "first_element": (first_element, "large_counts-single_precision_of_few_trials"),
    "array_wide": (array_wide, "large_counts-single_precision_of_few_trials"),
    "wide_rule": (constant("ROUNDING_SHARE", 2.0**-4), CAST),
    "no_rounding_allowed": (no_rounding_allowed, "minibatch_logistic:CASE"),
    "wide_scatter": (constant("SCATTER", 2.0**40), CAST),
    "wide_floor": (constant("ROUNDING_FLOOR", 2.0**-5), CAST),
    "absolute_floor": (relative_to_one, "extreme_scales-single_precision_of_the_data"),
    "wide_response": (constant("PERTURBATION_GAIN", 2.0**34), CAST),
    "no_response": (without_perturbation, "gaussian_process:CASE_SINGULAR"),
    "single_precision_alone": (single_precision_alone, "minibatch_logistic:CASE"),
    "nothing_ill_conditioned": (
        constant("ILL_CONDITIONED", np.inf),
        "gaussian_process:CASE_SINGULAR",
    ),
    "much_ill_conditioned": (constant("ILL_CONDITIONED", 0.0), "eight_schools-variance_for_sd"),
    "everything_cast": (constant("CAST", np.inf), CAST),
    "nan_is_the_same": (nan_is_the_same, "gradients-norm_at_zero"),
    "undecided_is_the_same": (undecided_is_the_same, "gaussian_process:CASE_SINGULAR"),
    "nothing_allowed": (nothing_allowed, "directions:CASE"),
    "arguments_not_compared": (
        arguments_not_compared,
        "large_counts-single_precision_of_a_concentration",
    ),
    "dims_by_position": (dims_by_position, "refactorings:CASE"),
    "undeclared_dims": (undeclared_dims_allowed, "hierarchical_regression-to_event_missing"),
}
