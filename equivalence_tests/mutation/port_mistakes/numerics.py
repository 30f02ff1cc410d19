"""Mistakes of numbers and structure: scales, factors, masks, rewritten programs."""

from __future__ import annotations

from equivalence_tests.mutation.port_mistakes.mistake import M

EXTREME_SCALES = {
    "units": M("extreme_scales", "numpyro_model", "Normal(0.0, 1e-7)", "Normal(0.0, 1e-8)", "a"),
    "epsilon": M("extreme_scales", "numpyro_model", "s + 1e-9", "s + 1e-8", "tiny"),
    "scale_for_rate": M(
        "extreme_scales", "numpyro_model", "Exponential(1e8)", "Exponential(1e-8)", "s"
    ),
    "normal_for_cauchy": M(
        "extreme_scales", "numpyro_model", "Cauchy(b, 1e8)", "Normal(b, 1e8)", "huge"
    ),
    "biased_deviation": M(
        "extreme_scales",
        "numpyro_far_model",
        "far.std(ddof=1)",
        "far.std()",
        "z",
        ("value",),
        case="CASE_FAR",
    ),
    "variance": M(
        "extreme_scales",
        "numpyro_far_model",
        "Normal(loc, 0.5)",
        "Normal(loc, 0.25)",
        "far",
        case="CASE_FAR",
    ),
    "single_precision": M(
        "extreme_scales",
        "numpyro_far_model",
        "(far - far.mean())",
        "(far.astype(np.float32) - far.mean())",
        "z",
        ("value",),
        case="CASE_FAR",
    ),
}

FACTORS = {
    "factor_left_out": M(
        "factors",
        "numpyro_model",
        '    numpyro.factor("roughness", -0.5 * smooth * (bends**2).sum())\n',
        "",
        "roughness",
        ("sites",),
    ),
    "factor_sign": M("factors", "numpyro_model", "-0.5 * smooth", "0.5 * smooth", "roughness"),
    "first_differences": M(
        "factors",
        "numpyro_model",
        "- 2.0 * weights[1:-1] + weights[:-2]",
        "- weights[1:-1]",
        "roughness",
    ),
    "mean_for_sum": M("factors", "numpyro_model", ".sum()", ".mean()", "roughness"),
    "offset_dropped": M(
        "factors",
        "numpyro_model",
        "offset + basis @ weights",
        "basis @ weights",
        "curve",
        ("value",),
    ),
    "exp_for_softplus": M(
        "factors", "numpyro_guide", "softplus_positive", "positive", "rate", ("parameter",), "loss"
    ),
    "normal_for_laplace": M(
        "factors",
        "numpyro_guide",
        "Laplace(loc, 0.3)",
        "Normal(loc, 0.3)",
        "weights",
        program="guide",
        case="CASE_TRAINED",
    ),
    "noise_bounded_below": M(
        "factors",
        "numpyro_model",
        "Laplace(curve, noise)",
        "Laplace(curve, jnp.maximum(noise, 0.2))",
        "y",
        case="CASE_TRAINED",
    ),
    "not_learned": M(
        "factors",
        "numpyro_model",
        'numpyro.param("noise", 0.4, constraint=ndist.constraints.positive)',
        "0.4",
        "noise",
        ("parameter",),
        "loss",
    ),
}

REFACTORINGS = {
    "not_transposed": M(
        "refactorings", "numpyro_guide", "loc.T", "loc.reshape(J, D)", "z", program="guide"
    ),
    "degrees_of_freedom": M(
        "refactorings",
        "numpyro_renamed_model",
        "StudentT(4.0",
        "StudentT(3.0",
        "shift",
        case="CASE_RENAMED",
    ),
    "event_for_no_plate": M(
        "refactorings",
        "numpyro_model",
        ".expand([J, D]).to_event(1)",
        ".expand([J, 1]).to_event(1)",
        "z",
        ("shape", "plates", "execution"),
    ),
    "features_outside": M(
        "refactorings",
        "numpyro_model",
        "Normal(z * x, 0.5).to_event(1)",
        "Normal(z * x, 0.5)",
        "y",
        ("execution",),
    ),
}

REWRITTEN = {
    "sd_as_variance": M(
        "rewritten",
        "pyro_rewritten",
        "[1.0, 4.0]",
        "[1.0, 2.0]",
        "w",
        case="CASE_PYRO",
    ),
    "sd_as_precision": M(
        "rewritten", "numpyro_rewritten", "[1.0, 0.25]", "[1.0, 0.5]", "w", case="CASE_NUMPYRO"
    ),
    "wrong_axis": M(
        "rewritten",
        "numpyro_rewritten",
        '"nd,d->n", x, w',
        '"nd,d->n", x[:, ::-1], w',
        "y",
        case="CASE_NUMPYRO",
    ),
}

GROUPS = (EXTREME_SCALES, FACTORS, REFACTORINGS, REWRITTEN)
