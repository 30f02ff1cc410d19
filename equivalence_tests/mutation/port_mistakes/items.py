"""Mistakes with one normal per item, in guides by hand and automatic ones."""

from __future__ import annotations

from equivalence_tests.mutation.port_mistakes.mistake import M

ITEM_PLATES = {
    "softplus_for_exp": M(
        "item_plates", "numpyro_guide", "Local(ndist.constraints.positive)",
        "Local(ndist.constraints.softplus_positive)", "contrast", ("density", "value"),
        program="guide",
    ),
    "correlation_forgotten": M(
        "item_plates", "numpyro_guide", "scale, lower)", "scale, 0 * lower)", "joint",
        program="guide",
    ),
    "numbers_in_another_order": M(
        "item_plates", "numpyro_guide", "x @ weight.mT", "(x @ weight.mT)[:, ::-1]", "joint",
        program="guide",
    ),
    "contrast_outside": M(
        "item_plates", "numpyro_model", "LogNormal(0.0, 0.5)", "LogNormal(0.0, 0.25)", "contrast"
    ),
    "diagonal": M(
        "item_plates", "make_numpyro", '"mini_batch", encoder)',
        '"mini_batch", encoder, covariance="diagonal")', "auto_head_bias", ("parameter",), "loss",
        case="CASE_AUTOMATIC",
    ),
}  # fmt: skip

ITEM_COUNTS = {
    "other_features": M(
        "item_counts", "log_counts_jax", "jnp.log1p(counts)", "jnp.sqrt(counts)", "auto_joint",
        program="guide",
    ),
}  # fmt: skip

ITEM_LATENTS = {
    "mask_forgotten": M(
        "item_latents", "numpyro_missing", ".mask(seen)", "", "x", case="CASE_MISSING",
    ),
    "features_not_filled_in_alike": M(
        "item_latents", "numpyro_missing_features", "jnp.where(seen, x, 0.0)", "x", "auto_joint",
        program="guide", case="CASE_MISSING",
    ),
    "mask_the_wrong_way_round": M(
        "item_latents", "numpyro_known", "obs_mask=seen.mT", "obs_mask=~seen.mT", "size", ("value",),
        case="CASE_KNOWN",
    ),
    "known_values_of_another_scale": M(
        "item_latents", "numpyro_known", "obs=jnp.exp(x.mT)", "obs=jnp.exp(2 * x.mT)",
        "size_observed", ("value",), case="CASE_KNOWN",
    ),
    "class_counted_from_one": M(
        "item_latents", "numpyro_classes", "2.0 * kind", "2.0 * (kind + 1)", "x",
        case="CASE_ENUMERATED",
    ),
}  # fmt: skip

GROUPS = (ITEM_PLATES, ITEM_COUNTS, ITEM_LATENTS)
