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
    "noise_of_the_decoder": M(
        "item_plates", "make_numpyro_vae", "jnp.tanh(decode(z)), 0.5)", "jnp.tanh(decode(z)), 0.25)",
        "x", case="CASE_VAE",
    ),
    "tanh_forgotten": M(
        "item_plates", "make_numpyro_vae", "jnp.tanh(decode(z))", "decode(z)", "x", case="CASE_VAE",
    ),
    "people_for_films": M(
        "item_plates", "numpyro_crossed", "quality + taste * appeal", "appeal + taste * quality", "y",
        case="CASE_CROSSED",
    ),
    "care_of_another_spread": M(
        "item_plates", "numpyro_crossed", "LogNormal(0.0, 0.3)", "LogNormal(0.0, 0.09)", "care",
        case="CASE_CROSSED",
    ),
    "films_independent": M(
        "item_plates", "make_numpyro_crossed", 'prefix="films")',
        'prefix="films", covariance="diagonal")', "films_item_rest", ("parameter",), "loss",
        case="CASE_CROSSED",
    ),
}  # fmt: skip

ITEM_COUNTS = {
    "other_features": M(
        "item_counts", "log_counts_jax", "jnp.log1p(counts)", "jnp.sqrt(counts)", "auto_joint",
        program="guide",
    ),
    "globals_of_another_prior": M(
        "item_counts", "numpyro_model", "ndist.LogNormal(0.0, 0.5)", "ndist.LogNormal(0.5, 0.5)",
        "dispersion", case="CASE_LOW_RANK",
    ),
    "library_size_forgotten": M(
        "item_counts", "numpyro_model", "jnp.log(mean * size / rate)", "jnp.log(mean / rate)", "y",
        case="CASE_LOW_RANK",
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
    "beta_swapped": M(
        "item_latents", "numpyro_supports", "Beta(2.0, 3.0)", "Beta(3.0, 2.0)", "share",
        case="CASE_SUPPORTS",
    ),
    "factor_of_another_concentration": M(
        "item_latents", "numpyro_supports", "LKJCholesky(D, 2.0)", "LKJCholesky(D, 1.0)", "factor",
        case="CASE_SUPPORTS",
    ),
    "share_forgotten": M(
        "item_latents", "numpyro_supports", "mix * share[..., None]", "mix", "x",
        case="CASE_SUPPORTS",
    ),
    "plates_exchanged": M(
        "item_latents", "numpyro_deep", 'plate("parts", 2, dim=-2), numpyro.plate("layers", 3, dim=-3)',
        'plate("parts", 3, dim=-2), numpyro.plate("layers", 2, dim=-3)', "a", ("plates", "shape"),
        case="CASE_DEEP",
    ),
    "mean_for_sum": M(
        "item_latents", "numpyro_deep", "a.sum((-3, -2))", "a.mean((-3, -2))", "x",
        case="CASE_DEEP",
    ),
    "scale_for_rate": M(
        "item_latents", "numpyro_rows", "Gamma(2.0, 2.0)", "Gamma(2.0, 0.5)", "slope",
        case="CASE_ROWS",
    ),
    "sum_for_product": M(
        "item_latents", "numpyro_rows", "level * slope", "level + slope", "y", case="CASE_ROWS",
    ),
    "variance_of_a_step": M(
        "item_latents", "numpyro_series", "0.8 * state, 0.5", "0.8 * state, 0.25", "state_1",
        case="CASE_SERIES",
    ),
    "turn_of_another_column": M(
        "item_latents", "numpyro_series", "turn[..., t, 0]", "turn[..., t, 1]", "x_0",
        case="CASE_SERIES",
    ),
    "one_event_dim": M(
        "item_latents", "numpyro_series", "jnp.zeros((D, 2)), 1.0).to_event(2)",
        "jnp.zeros((D, 2)), 1.0).to_event(1)", "turn", ("execution",),
        program="guide", case="CASE_SERIES",
    ),
}  # fmt: skip

GROUPS = (ITEM_PLATES, ITEM_COUNTS, ITEM_LATENTS)
