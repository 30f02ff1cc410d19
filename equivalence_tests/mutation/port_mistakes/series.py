"""Mistakes in time series, hidden states and processes."""

from __future__ import annotations

from equivalence_tests.mutation.port_mistakes.mistake import JAX, NUMERIC, M

STATE_SPACE = {
    "other_first_state": M("state_space", "numpyro_model", "jnp.zeros(())", "jnp.ones(())", "z_0"),
    "wrong_carry": M("state_space", "numpyro_model", "return z, None", "return y, None", "z_1"),
    "data_reversed": M(
        "state_space", "numpyro_model", "scan(step, jnp.zeros(()), y)",
        "scan(step, jnp.zeros(()), y[::-1])", "y_0", ("value",),
    ),
    "time_reversed": M(
        "state_space", "numpyro_model", "jnp.zeros(()), y)", "jnp.zeros(()), y, reverse=True)",
        "z_0",
    ),
    "widths_reversed": M(
        "state_space", "numpyro_guide", "(y, width))", "(y, width[::-1]))", "z_0", program="guide"
    ),
    "drift_inside": M(
        "state_space", "numpyro_model", "jnp.tanh(z) + drift", "jnp.tanh(z + drift)", "z_0"
    ),
    "variance_for_sd": M(
        "state_space", "numpyro_model", "Normal(z, noise)", "Normal(z, jnp.sqrt(noise))", "y_0"
    ),
    "exp_of_log_loc": M(
        "state_space", "numpyro_model", "LogNormal(-1.0, 0.4)", "LogNormal(jnp.exp(-1.0), 0.4)",
        "noise",
    ),
    "detached_gain": M(
        "state_space", "numpyro_guide", "Normal(gain, 0.2)",
        "Normal(jax.lax.stop_gradient(gain), 0.2)", "gain", ("gradient",), "loss", imports=JAX,
    ),
    "first_step_left_out": M(
        "state_space", "numpyro_loop_model", "range(len(y))", "range(1, len(y))", "z_0",
        ("sites",), case="CASE_MCMC",
    ),
    "states_not_fed_back": M(
        "state_space", "numpyro_loop_model", 'z = numpyro.sample(f"z_{t}", ndist.Normal(jnp.tanh(z)',
        'z = numpyro.sample(f"z_{t}", ndist.Normal(jnp.tanh(0.0 * z)', "z_1", case="CASE_MCMC",
    ),
}  # fmt: skip

SCAN_AUTOGUIDES = {
    "detached_carry": M(
        "scan_autoguides", "numpyro_model", "return level, None",
        "return jax.lax.stop_gradient(level), None", "AutoNormal.locs.level_0", ("gradient",),
        "loss", imports=JAX,
    ),
    "data_carried": M(
        "scan_autoguides", "numpyro_model", "return level, None", "return y, None", "level_1"
    ),
    "time_reversed": M(
        "scan_autoguides", "numpyro_model", "jnp.zeros(()), y)", "jnp.zeros(()), y, reverse=True)",
        "level_0",
    ),
    "pyro_drift_inside": M(
        "scan_autoguides", "pyro_model", "torch.tanh(level) + tempo", "torch.tanh(level + tempo)",
        "level", case="CASE_SWAPPED",
    ),
    "rate_for_mean": M(
        "scan_autoguides", "numpyro_panel_model", "Gamma(2.0, 2.0 / z)", "Gamma(2.0, 2.0 * z)",
        "z_1", case="CASE_PANEL",
    ),
    "plate_inside_of_the_scan": M(
        "scan_autoguides",
        "numpyro_panel_model",
        """        z = numpyro.sample("z", ndist.Gamma(2.0, 2.0 / z).to_event(1))
""",
        """        with numpyro.plate("series", y.shape[0]):
            z = numpyro.sample("z", ndist.Gamma(2.0, 2.0 / z))
""",
        "",
        ("execution",),
        "guide",
        case="CASE_PANEL",
    ),
}  # fmt: skip

LONG_RECURSION = {
    "levels_after_the_step": M(
        "long_recursion",
        "numpyro_autoregression",
        "jnp.tanh(y - level), level",
        "jnp.tanh(y - level), phi * level",
        "y",
    ),
    "state_updated_twice": M(
        "long_recursion", "numpyro_autoregression", "0.1 * jnp.tanh", "0.1001 * jnp.tanh", "y"
    ),
    "sd_for_variance": M(
        "long_recursion", "numpyro_kalman", "jnp.sqrt(spread)", "spread", "y", case="CASE_KALMAN"
    ),
    "gain_of_the_predicted_variance": M(
        "long_recursion",
        "numpyro_kalman",
        "(1.0 - gain) * variance",
        "(1.0 - gain**2) * variance",
        "last",
        ("value",),
        case="CASE_KALMAN",
    ),
    "no_noise_in_the_gain": M(
        "long_recursion",
        "numpyro_kalman",
        "variance / spread",
        "variance / (spread + 1e-6)",
        "last",
        ("value",),
        case="CASE_KALMAN",
    ),
    "first_density_left_out": M(
        "long_recursion",
        "numpyro_kalman",
        "densities.sum()",
        "densities[1:].sum()",
        "y",
        case="CASE_KALMAN",
    ),
}

HIDDEN_MARKOV = {
    "transition_reversed": M(
        "hidden_markov",
        "numpyro_model",
        "state == 1, stay, 1.0 - stay",
        "state == 1, 1.0 - stay, stay",
        "state_0",
    ),
    "state_not_carried": M(
        "hidden_markov",
        "numpyro_model",
        "        state = numpyro.sample(",
        "        _ = state_t = numpyro.sample(",
        "y_0",
        NUMERIC,
    ),
    "beta_swapped": M("hidden_markov", "numpyro_model", "Beta(8.0, 2.0)", "Beta(2.0, 8.0)", "stay"),
}

GAUSSIAN_PROCESS = {
    "half_forgotten": M(
        "gaussian_process", "numpyro_model", "-0.5 * distance", "-1.0 * distance", "y"
    ),
    "noise_not_squared": M("gaussian_process", "numpyro_model", "noise**2", "noise", "y"),
    "jitter_twice": M(
        "gaussian_process",
        "numpyro_model",
        "+ jitter)",
        "+ 2 * jitter)",
        "y",
    ),
    "covariance_for_its_factor": M(
        "gaussian_process",
        "numpyro_cholesky_model",
        "scale_tril=tril",
        "scale_tril=tril @ tril.T",
        "y",
        NUMERIC,
        case="CASE_CHOLESKY",
    ),
    "factor_transposed": M(
        "gaussian_process",
        "numpyro_cholesky_model",
        "scale_tril=tril",
        "scale_tril=tril.T",
        "y",
        NUMERIC,
        case="CASE_CHOLESKY",
    ),
    "covariance_for_precision": M(
        "gaussian_process",
        "numpyro_precision_model",
        "precision_matrix=precision",
        "covariance_matrix=precision",
        "y",
        case="CASE_PRECISION",
    ),
    "length_squared": M(
        "gaussian_process",
        "numpyro_precision_model",
        "/ length",
        "/ length**2",
        "y",
        case="CASE_PRECISION",
    ),
}

SURVIVAL = {
    "weibull_swapped": M(
        "survival", "numpyro_model", "Weibull(scale, shape)", "Weibull(shape, scale)", "time"
    ),
    "censoring_inverted": M("survival", "numpyro_model", "where(dead,", "where(~dead,", "censored"),
    "mask_inverted": M("survival", "numpyro_model", "mask=dead", "mask=~dead", "time"),
    "hazard_sign": M("survival", "numpyro_model", "-((time", "((time", "censored"),
    "bounds_of_the_interval": M(
        "survival",
        "numpyro_guide",
        "interval(-1.0, 2.0)",
        "interval(-1.0, 3.0)",
        "b",
        ("parameter",),
        "loss",
    ),
    "positive_for_greater_than": M(
        "survival", "numpyro_guide", "greater_than(1.0)", "positive", "a", ("parameter",), "loss"
    ),
    "censored_once": M(
        "survival",
        "numpyro_model",
        '"censored", alive)',
        '"censored", alive.sum())',
        "censored",
        ("density", "shape", "execution"),
    ),
}

GROUPS = (STATE_SPACE, SCAN_AUTOGUIDES, LONG_RECURSION, HIDDEN_MARKOV, GAUSSIAN_PROCESS, SURVIVAL)
