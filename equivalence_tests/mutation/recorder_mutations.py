"""Mistakes in what records the programs, each with a case that it must turn red.

Each is a function `mutation(patch)`. Most spoil both twins alike, so that no correct pair can show them:
what they hide is a mistake of a port. The others spoil one twin, and a correct pair parts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import torch

import numpyro_impl.recording.execution as numpyro_execution
import numpyro_impl.recording.parameters as numpyro_parameters
import numpyro_impl.recording.program as numpyro_program
import numpyro_impl.recording.replay as numpyro_replay
import numpyro_impl.recording.session as numpyro_session
import numpyro_impl.recording.sites as numpyro_sites
import pyro_impl.recording.execution as pyro_execution
import pyro_impl.recording.parameters as pyro_parameters
import pyro_impl.recording.program as pyro_program
import pyro_impl.recording.replay as pyro_replay
import pyro_impl.recording.session as pyro_session
import pyro_impl.recording.sites as pyro_sites
from equivalence_tests.mutation.verifier_mutations import CAST, Patch, Spoil
from twinplate.records.record import Settings
from twinplate.verification import recording

# -- what is recorded of a site ------------------------------------------------------------------------


def kind_dropped(kind: str) -> Spoil:
    """Sites of one kind not recorded."""

    def mutation(patch: Patch) -> None:
        for module, name in ((pyro_session, "make_sites"), (numpyro_session, "_sites")):
            _wrap(patch, module, name, lambda sites: _without(sites, kind))

    return mutation


def _without(sites: dict[str, Any], kind: str) -> dict[str, Any]:
    return {name: site for name, site in sites.items() if site.kind != kind}


def sites_with(**fields: Any) -> Spoil:
    """Some fields of every site recorded as constants."""

    def mutation(patch: Patch) -> None:
        for module, name in ((pyro_session, "make_sites"), (numpyro_session, "_sites")):
            _wrap(
                patch,
                module,
                name,
                lambda sites: {n: replace(site, **fields) for n, site in sites.items()},
            )

    return mutation


def _wrap(patch: Patch, owner: Any, name: str, change: Any) -> None:
    """`change` applied to what the function returns."""
    original = getattr(owner, name)
    patch.setattr(owner, name, lambda *args, **kwargs: change(original(*args, **kwargs)))


def mask_of_a_handler_ignored(patch: Patch) -> None:
    """Pyro's densities as if no handler masked them."""
    score = pyro_execution.score
    patch.setattr(pyro_execution, "score", lambda node: (node.update(mask=None), score(node)))


def masked_densities_recorded(patch: Patch) -> None:
    """Densities of masked elements recorded in both, and no mask."""
    mask_of_a_handler_ignored(patch)
    log_prob = numpyro_sites.log_prob

    def unmasked(node: Any) -> Any:
        fn = node["fn"]
        masked = isinstance(fn, numpyro_sites.dist.MaskedDistribution)
        return log_prob({**node, "fn": fn.base_dist if masked else fn})

    patch.setattr(numpyro_sites, "log_prob", unmasked)
    sites_with(mask=None)(patch)


def computed_sites_scored(patch: Patch) -> None:
    """What a reparametrisation leaves behind in Pyro taken for an observed site."""
    patch.setattr(pyro_sites, "_is_computed", lambda node: False)


def first_particle_alone(patch: Patch) -> None:
    """The first particle's sites recorded for all in NumPyro."""
    _wrap(
        patch,
        numpyro_session,
        "_sites",
        lambda sites: {name: _first_particle(site) for name, site in sites.items()},
    )


def _first_particle(site: Any) -> Any:
    fields = {
        name: None if values is None else np.repeat(values[:1], len(values), axis=0)
        for name in ("value", "log_prob", "mask")
        for values in [getattr(site, name)]
    }
    return replace(site, **fields)


# -- loss and gradient ---------------------------------------------------------------------------------


def gradients_zero(patch: Patch) -> None:
    """Every gradient recorded as zero."""
    patch.setattr(pyro_parameters, "gradient_of", lambda leaf: np.zeros(tuple(leaf.shape)))
    patch.setattr(pyro_execution, "gradient_of", pyro_parameters.gradient_of)
    patch.setattr(
        numpyro_parameters, "unconstrained_gradient", lambda c, value, g: jnp.zeros_like(g)
    )


def gradients_summed(patch: Patch) -> None:
    """The gradient of all particles' losses, not of their mean, in Pyro."""
    patch.setattr(pyro_execution, "average_gradients", lambda count: None)


def constrained_gradients(patch: Patch) -> None:
    """Gradients in the constrained value in NumPyro."""
    patch.setattr(
        numpyro_parameters, "unconstrained_gradient", lambda constraint, value, gradient: gradient
    )


def fewer_particles(patch: Patch) -> None:
    """The vectorised loss of one particle in NumPyro."""
    loss = numpyro_execution.Execution._loss

    def first(self: Any, flat: Any, keys: Any, draws: Any, indices: Any, inputs: Any) -> Any:
        return loss(self, flat, keys[0], {n: x[0] for n, x in draws.items()}, indices, inputs)

    patch.setattr(numpyro_execution.Execution, "_vectorised", first)


def loss_ignored(patch: Patch) -> None:
    """Trace_ELBO, whatever loss was asked for."""
    for execution in (pyro_execution.Execution, numpyro_execution.Execution):
        init = execution.__init__

        def spoilt(self: Any, *args: Any, init: Any = init, **kwargs: Any) -> None:
            init(self, *args, **kwargs)
            self.settings = replace(self.settings, loss="Trace_ELBO")

        patch.setattr(execution, "__init__", spoilt)


# -- what the runs are given ---------------------------------------------------------------------------


def own_noise(patch: Patch) -> None:
    """NumPyro's programs keep their own draws."""
    patch.setattr(numpyro_replay.replay_draws, "_value", lambda self, msg, x: None)


def own_subsamples(patch: Patch) -> None:
    """Pyro's plates keep their own indices."""
    patch.setattr(pyro_replay.replay_draws, "_subsample", lambda self, msg: None)


def draws_detached(patch: Patch) -> None:
    """Draws without a derivative in the parameters of their distributions."""
    for module in (pyro_replay, numpyro_replay):
        patch.setattr(module, "replayed", lambda fn, x, joint=False: x)


def first_step_for_all(patch: Patch) -> None:
    """Every step of a scan gets the draw of the first."""
    step = numpyro_replay.replay_draws._step

    def spoilt(self: Any, site: Any) -> Any:
        first = {**site["infer"], "_scan_current_index": 0}
        return step(self, {**site, "infer": first})

    patch.setattr(numpyro_replay.replay_draws, "_step", spoilt)


def not_stressed(patch: Patch) -> None:
    """The stress draw is an ordinary one."""
    patch.setattr(recording, "stressed", lambda value, *support: value)


def first_values_kept(patch: Patch) -> None:
    """Parameters at their first values, often zeros, in every draw."""
    patch.setattr(recording, "jitter", lambda value, constraint, rng: value)


def trained_values_ignored(patch: Patch) -> None:
    """Values given for parameters not used."""
    choose = recording._choose
    patch.setattr(
        recording,
        "_choose",
        lambda session, found, seed, draw, wanted, *rest: choose(
            session, found, seed, draw, replace(wanted, parameters={}), *rest
        ),
    )


def data_in_single_precision(patch: Patch) -> None:
    """Arguments rounded to single precision on their way in."""
    for session in (pyro_session, numpyro_session):
        make_inputs = session.make_inputs

        def spoilt(args: Any, kwargs: Any, precision: str, make: Any = make_inputs) -> Any:
            return make(*recording.map_leaves(_rounded, (args, kwargs)), precision)

        patch.setattr(session, "make_inputs", spoilt)


def _rounded(leaf: Any) -> Any:
    values = leaf.numpy() if isinstance(leaf, torch.Tensor) else np.asarray(leaf)
    return values.astype(np.float32).astype(np.float64) if values.dtype.kind == "f" else leaf


def keywords_ignored(patch: Patch) -> None:
    """Keyword arguments not passed on in Pyro."""
    make_inputs = pyro_session.make_inputs
    patch.setattr(
        pyro_session,
        "make_inputs",
        lambda args, kwargs, precision: make_inputs(args, {}, precision),
    )


# -- precision, and runs -------------------------------------------------------------------------------


def precision_for(asked: str, used: str) -> Spoil:
    """One precision passed off as the other."""

    def mutation(patch: Patch) -> None:
        for program in (pyro_program.Program, numpyro_program.Program):
            session = program.session

            def spoilt(self: Any, precision: str, settings: Settings, make: Any = session) -> Any:
                return make(self, used if precision == asked else precision, settings)

            patch.setattr(program, "session", spoilt)

    return mutation


def perturbation(size: float) -> Spoil:
    """Inputs changed by another amount."""
    return lambda patch: patch.setattr(recording, "PERTURBATION", size)


def failures_swallowed(patch: Patch) -> None:
    """What a program raises not recorded."""
    for session in (pyro_session, numpyro_session):
        patch.setattr(session, "failure_of", lambda *arguments: None)


# Spoil's name -> (mutation, the case that it must turn red: a mistake, or a correct pair's case)
RECORDER_MUTATIONS: dict[str, tuple[Spoil, str]] = {
    "factors_dropped": (kind_dropped("factor"), "factors-factor_left_out"),
    "deterministic_dropped": (kind_dropped("deterministic"), "prepared_data-biased_deviation"),
    "auxiliary_dropped": (kind_dropped("auxiliary"), "auxiliary-scale_squared"),
    "scales_ignored": (sites_with(scale=1.0), "nested_subsampling-scale_forgotten"),
    "plates_dropped": (sites_with(plates=()), "minibatch_logistic-plate_of_the_batch"),
    "supports_unknown": (sites_with(support="unknown"), "eight_schools-folded_normal"),
    "masks_of_handlers_ignored": (mask_of_a_handler_ignored, "missing_data:CASE"),
    "masked_densities_recorded": (masked_densities_recorded, "missing_data-mask_inverted"),
    "computed_sites_scored": (computed_sites_scored, "eight_schools:CASE_REPARAM"),
    "first_particle_alone": (first_particle_alone, "hierarchical_regression:CASE_PARTICLES"),
    "gradients_zero": (gradients_zero, "gradients-abs_at_zero"),
    "gradients_summed": (gradients_summed, "hierarchical_regression:CASE_PARTICLES"),
    "constrained_gradients": (constrained_gradients, "hierarchical_regression:CASE"),
    "fewer_particles": (fewer_particles, "auxiliary:CASE_VECTORISED"),
    "loss_ignored": (loss_ignored, "mixture-not_enumerated"),
    "own_noise": (own_noise, "hierarchical_regression:CASE"),
    "own_subsamples": (own_subsamples, "nested_subsampling:CASE"),
    "draws_detached": (draws_detached, "hierarchical_regression-detached_effects"),
    "first_step_for_all": (first_step_for_all, "state_space:CASE"),
    "not_stressed": (not_stressed, "minibatch_logistic-clipped_only_far_out"),
    "first_values_kept": (first_values_kept, "refactorings-not_transposed"),
    "trained_values_ignored": (trained_values_ignored, "factors-noise_bounded_below"),
    "data_in_single_precision": (
        data_in_single_precision,
        "extreme_scales-single_precision_of_the_data",
    ),
    "keywords_ignored": (keywords_ignored, "own_programs:CASE_DIAGONAL"),
    "single_for_double": (precision_for("float64", "float32"), "eight_schools:CASE"),
    "double_for_single": (precision_for("float32", "float64"), "gradients:CASE"),
    "no_perturbation": (perturbation(0.0), "gaussian_process:CASE_SINGULAR"),
    "loud_perturbation": (perturbation(2.0**-20), CAST),
    "failures_swallowed": (failures_swallowed, "refactorings-features_outside"),
}
