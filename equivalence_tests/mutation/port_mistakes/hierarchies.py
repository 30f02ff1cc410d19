"""Mistakes in hierarchical regressions: priors, plates, groups."""

from __future__ import annotations

from equivalence_tests.mutation.port_mistakes.mistake import JAX, NUMERIC, M

EIGHT_SCHOOLS = {
    "variance_for_sd": M(
        "eight_schools", "numpyro_model", "Normal(theta, sigma)", "Normal(theta, sigma**2)", "y"
    ),
    "precision_for_sd": M(
        "eight_schools", "numpyro_model", "Normal(theta, sigma)", "Normal(theta, sigma**-2.0)", "y"
    ),
    "half_normal": M("eight_schools", "numpyro_model", "HalfCauchy(5.0)", "HalfNormal(5.0)", "tau"),
    "scale_of_another_prior": M(
        "eight_schools", "numpyro_model", "Normal(mu, tau)", "Normal(mu, 5.0)", "theta"
    ),
    "outside_the_plate": M(
        "eight_schools",
        "numpyro_model",
        """    with numpyro.plate("schools", len(y)):
        theta = numpyro.sample("theta", ndist.Normal(mu, tau))
""",
        """    theta = numpyro.sample("theta", ndist.Normal(mu, tau).expand([len(y)]))
    with numpyro.plate("schools", len(y)):
""",
        "theta",
        ("plates",),
    ),
    "one_theta_for_all": M(
        "eight_schools",
        "numpyro_model",
        """    with numpyro.plate("schools", len(y)):
        theta = numpyro.sample("theta", ndist.Normal(mu, tau))
""",
        """    theta = numpyro.sample("theta", ndist.Normal(mu, tau))
    with numpyro.plate("schools", len(y)):
""",
        "theta",
        ("plates",),
    ),
    "data_not_passed": M("eight_schools", "numpyro_model", ", obs=y", "", "y", ("sites",)),
    "folded_normal": M(
        "eight_schools",
        "numpyro_model",
        'numpyro.sample("tau", ndist.HalfCauchy(5.0))',
        'jnp.abs(numpyro.sample("tau", ndist.Cauchy(0.0, 5.0)))',
        "tau",
        ("support",),
        imports="import jax.numpy as jnp",
    ),
    "pyro_half_normal": M(
        "eight_schools",
        "pyro_model",
        "HalfCauchy(5.0)",
        "HalfNormal(5.0)",
        "tau",
    ),
}

HIERARCHICAL_REGRESSION = {
    "to_event_missing": M(
        "hierarchical_regression",
        "numpyro_model",
        "Normal(jnp.zeros(2), 1.0).to_event(1)",
        "Normal(jnp.zeros(2), 1.0)",
        "beta",
        ("shape",),
        case="CASE_MCMC",

    ),
    "index_off_by_one": M(
        "hierarchical_regression",
        "numpyro_model",
        "alpha[group]",
        "alpha[group + 1]",
        "mean",
        ("value",),
    ),
    "degrees_of_freedom": M(
        "hierarchical_regression",
        "numpyro_model",
        "StudentT(5.0, mean, sigma)",
        "StudentT(4.0, mean, sigma)",
        "y",
    ),
    "student_arguments_in_scipy_order": M(
        "hierarchical_regression",
        "numpyro_model",
        "StudentT(5.0, mean, sigma)",
        "StudentT(sigma, mean, 5.0)",
        "y",
    ),
    "scale_for_rate": M(
        "hierarchical_regression", "numpyro_model", "Exponential(1.5)", "Exponential(1 / 1.5)",
        "sigma",
    ),
    "scale_for_rate_in_guide": M(
        "hierarchical_regression",
        "numpyro_guide",
        "Gamma(3.0, sigma_rate)",
        "Gamma(3.0, 1.0 / sigma_rate)",
        "sigma",
        program="guide",
    ),
    "softplus_for_exp": M(
        "hierarchical_regression",
        "numpyro_guide",
        '"mu_scale", 0.5, constraint=positive',
        '"mu_scale", 0.5, constraint=ndist.constraints.softplus_positive',
        "mu_scale",
        ("parameter",),
        "loss",
    ),
    "extra_stop_gradient": M(
        "hierarchical_regression",
        "numpyro_guide",
        "Normal(alpha_loc, 0.6)",
        "Normal(jax.lax.stop_gradient(alpha_loc), 0.6)",
        "alpha_loc",
        ("gradient",),
        "loss",
        imports=JAX,
    ),
    "detached_effects": M(
        "hierarchical_regression",
        "numpyro_model",
        "alpha[group]",
        "jax.lax.stop_gradient(alpha)[group]",
        "alpha_loc",
        ("gradient",),
        "loss",
        imports=JAX,
    ),
    "one_scale_for_all": M(
        "hierarchical_regression",
        "numpyro_guide",
        "Normal(beta_loc, beta_scale)",
        "Normal(beta_loc, beta_scale.mean())",
        "beta",
        program="guide",
    ),
    "guide_without_plate": M(
        "hierarchical_regression",
        "numpyro_guide",
        """    with numpyro.plate("groups", GROUPS):
        numpyro.sample("alpha", ndist.Normal(alpha_loc, 0.6))""",
        """    numpyro.sample("alpha", ndist.Normal(alpha_loc, 0.6))""",
        "alpha",
        ("plates",),
        "guide",
    ),
    "columns_reversed": M(
        "hierarchical_regression", "numpyro_model", "x @ beta", "x[:, ::-1] @ beta", "mean",
        ("value",), case="CASE_MCMC",
    ),
    "site_forgotten_in_guide": M(
        "hierarchical_regression",
        "numpyro_guide",
        '    numpyro.sample("mu", ndist.Normal(mu_loc, mu_scale))\n',
        "",
        "mu",
        ("sites",),
        "guide",
    ),
    "log_normal_with_positive_loc": M(
        "hierarchical_regression",
        "numpyro_guide",
        "LogNormal(tau_loc, 0.3)",
        "LogNormal(jnp.exp(tau_loc), 0.3)",
        "tau",
        program="guide",
    ),
}  # fmt: skip

CROSSED_EFFECTS = {
    "questions_and_students_exchanged": M(
        "crossed_effects", "numpyro_model", "obs=answers", "obs=answers.T", "answers", ("value",)
    ),
    "sign_of_difficulty": M(
        "crossed_effects",
        "numpyro_model",
        "ability - difficulty",
        "ability + difficulty",
        "answers",
    ),
    "slope_outside": M(
        "crossed_effects",
        "numpyro_model",
        "slope * (ability - difficulty)",
        "slope * ability - difficulty",
        "answers",
    ),
    "students_on_the_last_dim": M(
        "crossed_effects",
        "numpyro_model",
        'plate("students", N, dim=-2)',
        'plate("students", N, dim=-1)',
        "ability",
        ("plates",),
    ),
    "half_of_the_students": M(
        "crossed_effects",
        "numpyro_guide",
        "Normal(loc, scale)",
        "Normal(loc, scale.T)",
        "ability",
        ("density", "shape", "execution"),
        "guide",
    ),
    "no_log": M(
        "crossed_effects",
        "numpyro_model",
        "LogNormal(0.0, 0.3)",
        "LogNormal(1.0, 0.3)",
        "slope",
        case="CASE_MCMC",
    ),
}

CORRELATED_EFFECTS = {
    "concentration_forgotten": M(
        "correlated_effects", "numpyro_model", "LKJCholesky(2, 2.0)", "LKJCholesky(2)", "corr"
    ),
    "factor_for_covariance": M(
        "correlated_effects",
        "numpyro_covariance_model",
        "(corr @ corr.T)",
        "corr",
        "effects",
        NUMERIC,
        case="CASE_COVARIANCE",
    ),
    "columns_scaled": M(
        "correlated_effects", "numpyro_model", "scales[:, None] * corr", "scales * corr", "effects"
    ),
    "slope_and_intercept_exchanged": M(
        "correlated_effects",
        "numpyro_model",
        "effects[group, 0] + effects[group, 1] * x",
        "effects[group, 1] + effects[group, 0] * x",
        "y",
    ),
    "group_shifted": M(
        "correlated_effects", "numpyro_model", "effects[group, 0]", "effects[group + 1, 0]", "y"
    ),
    "softplus_factor": M(
        "correlated_effects",
        "numpyro_guide",
        "constraints.lower_cholesky",
        "constraints.softplus_lower_cholesky",
        "effect_tril",
        ("parameter",),
        "loss",
    ),
}

HORSESHOE = {
    "variance_for_sd": M("horseshoe", "numpyro_model", "jnp.sqrt(noise)", "noise", "y"),
    "local_scale_forgotten": M("horseshoe", "numpyro_model", "tau * local", "tau", "beta"),
    "half_normal": M("horseshoe", "numpyro_model", "HalfCauchy(1.0)", "HalfNormal(1.0)", "local"),
    "inverse_gamma_by_rate": M(
        "horseshoe", "numpyro_model", "InverseGamma(3.0, 1.0)", "InverseGamma(1.0, 3.0)", "noise"
    ),
    "one_local_scale": M(
        "horseshoe",
        "numpyro_model",
        """    with numpyro.plate("features", x.shape[1]):
        local = numpyro.sample("local", ndist.HalfCauchy(1.0))
""",
        """    local = numpyro.sample("local", ndist.HalfCauchy(1.0))
    with numpyro.plate("features", x.shape[1]):
""",
        "local",
        ("plates",),
    ),
}

NESTED_SUBSAMPLING = {
    "scale_forgotten": M("nested_subsampling", "numpyro_model", "scale=0.5", "scale=1.0", "y"),
    "inner_plate_of_the_batch": M(
        "nested_subsampling",
        "numpyro_model",
        'plate("members", 8, subsample_size=4',
        'plate("members", 4, subsample_size=4',
        "y",
        ("plates",),
    ),
    "guide_of_the_batch": M(
        "nested_subsampling",
        "numpyro_guide",
        'plate("groups", 6, subsample_size=3, dim=-2) as g',
        'plate("group", 3, dim=-2) as g',
        "theta",
        ("plates",),
        "guide",
    ),
    "local_parameters_not_indexed": M(
        "nested_subsampling",
        "numpyro_guide",
        "local[g][:, None]",
        "local[:3][:, None]",
        "theta",
        program="guide",
    ),
    "rows_not_indexed": M(
        "nested_subsampling", "numpyro_model", "y[g][:, i]", "y[:3][:, i]", "y", ("value",)
    ),
}

GROUPS = (
    EIGHT_SCHOOLS,
    HIERARCHICAL_REGRESSION,
    CROSSED_EFFECTS,
    CORRELATED_EFFECTS,
    HORSESHOE,
    NESTED_SUBSAMPLING,
)
