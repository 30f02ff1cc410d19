"""Losses, and an automatic guide, that one framework gets wrong in silence, chosen for a program."""

from __future__ import annotations

from equivalence_tests.mutation.port_mistakes.mistake import M

LOSSES = {
    "mean_field_of_a_bijection": M(
        "loss_faults", "CASE", "args=(y,),", 'args=(y,), loss="TraceMeanField_ELBO",', "size",
        ("loss",), "loss",
    ),
    "mean_field_of_log_normals": M(
        "crossed_effects", "CASE", "args=(answers,)",
        'args=(answers,), loss="TraceMeanField_ELBO"', "spread", ("loss",), "loss",
    ),
    "mean_field_of_a_mask": M(
        "loss_faults", "CASE_MASKED", "args=(y,", 'loss="TraceMeanField_ELBO", args=(y,', "noise",
        ("loss",), "loss", case="CASE_MASKED",
    ),
    "score_under_a_scale": M(
        "loss_faults",
        "CASE_SWITCHES",
        """    PyroProgram(pyro_switches, pyro.infer.config_enumerate(pyro_switches_guide)),
    NumpyroProgram(numpyro_switches, config_enumerate(numpyro_switches_guide)),
    args=(y,),
    loss="TraceEnum_ELBO",""",
        """    PyroProgram(pyro_switches, pyro_switches_guide),
    NumpyroProgram(numpyro_switches, numpyro_switches_guide),
    args=(y,),
    loss="TraceGraph_ELBO",""",
        "logit",
        ("gradient",),
        "loss",
        case="CASE_SWITCHES",
    ),
    "joint_draw_under_renyi": M(
        "loss_faults",
        "numpyro_items_guide",
        """    with numpyro.plate("items", N, subsample_size=batch):
        near = ndist.Normal(numpyro.subsample(loc, event_dim=0), 0.7)
        near = numpyro.sample("near", near, infer={"is_auxiliary": True})
""",
        """    near = ndist.Normal(loc, 0.7).to_event(1)
    near = numpyro.sample("near", near, infer={"is_auxiliary": True})
    with numpyro.plate("items", N, subsample_size=batch):
""",
        "shift",
        ("loss",),
        "loss",
        case="CASE_ITEMS",
    ),
    "batches_under_renyi": M(
        "loss_faults", "CASE_BATCHES", "args=(y, 2)", 'args=(y, 2), loss="RenyiELBO"', "shift",
        ("loss",), "loss", case="CASE_BATCHES",
    ),
    "guide_outside_of_the_plate": M(
        "loss_faults", "numpyro_switches_guide",
        'handlers.scale(scale=3.0), numpyro.plate("items", N):', "handlers.scale(scale=3.0):", "on",
        ("plates",), "guide", case="CASE_SWITCHES",
    ),
    "batched_autoguide": M(
        "loss_faults", "CASE", "NumpyroProgram(numpyro_pairs, numpyro_pairs_guide)",
        "NumpyroProgram.build(lambda: (numpyro_pairs, AutoBatchedMultivariateNormal(numpyro_pairs)))",
        "pair", ("sites",), "guide",
        imports="from numpyro.infer.autoguide import AutoBatchedMultivariateNormal",
    ),
}  # fmt: skip

GROUPS = (LOSSES,)
