"""Single deliberate mistakes of somebody who ports a program, in copies of the correct pairs.

Each replaces one piece of source text of one function or class, where it occurs exactly once. `stages`,
`program` and `site` say where the report's headline must be.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

from equivalence_tests.mutants import source

NUMERIC = ("density", "execution")  # NaN, or an exception of the framework's validation


@dataclass(frozen=True)
class Mistake:
    """`new` for `old` in function or class `where` of `pair`, seen in its `case`."""

    pair: str
    where: str
    old: str
    new: str
    site: str
    stages: tuple[str, ...] = ("density",)
    program: str = "model"
    case: str = "CASE"
    wrong: str = "numpyro"
    imports: str = ""
    name: str = ""

    def text(self) -> str:
        """The pair's source with the mistake. Raises ValueError unless `old` occurs once."""
        text = source(self.pair)
        definitions = [
            node
            for node in ast.parse(text).body
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == self.where
        ]
        if len(definitions) != 1:
            raise ValueError(f"{self}: {self.pair} defines {self.where} {len(definitions)} times")
        right = ast.get_source_segment(text, definitions[0])
        assert right is not None
        if right.count(self.old) != 1:
            raise ValueError(f"{self}: {self.old!r} occurs {right.count(self.old)} times")
        spoilt = text.replace(right, right.replace(self.old, self.new))
        return f"{self.imports}\n{spoilt}" if self.imports else spoilt

    def __str__(self) -> str:
        return f"{self.pair}-{self.name}"


M = Mistake
JAX = "import jax"

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
        "eight_schools", "pyro_model", "HalfCauchy(5.0)", "HalfNormal(5.0)", "tau", wrong="pyro"
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

MINIBATCH = {
    "plate_of_the_batch": M(
        "minibatch_logistic",
        "numpyro_model",
        'plate("data", len(x), subsample_size=8) as i',
        'plate("data", 8) as i',
        "y",
        ("plates",),
    ),
    "first_rows": M("minibatch_logistic", "numpyro_model", "x[i] @", "x[:8] @", "y"),
    "first_labels": M(
        "minibatch_logistic", "numpyro_model", "obs=y[i]", "obs=y[:8]", "y", ("value",)
    ),
    "labels_reversed": M(
        "minibatch_logistic", "numpyro_model", "obs=y[i]", "obs=1 - y[i]", "y", ("value",)
    ),
    "logits_as_probs": M(
        "minibatch_logistic",
        "numpyro_model",
        "Bernoulli(logits=logits)",
        "Bernoulli(probs=logits)",
        "y",
        NUMERIC,
    ),
    "probs_as_logits": M(
        "minibatch_logistic",
        "numpyro_model_probs",
        "Bernoulli(probs=probs)",
        "Bernoulli(logits=probs)",
        "y",
        case="CASE_PROBS",
    ),
    "transposed_scale_tril": M(
        "minibatch_logistic",
        "numpyro_guide",
        "scale_tril=w_scale",
        "scale_tril=w_scale.T",
        "w",
        NUMERIC,
        "guide",
    ),
    "precision_for_covariance": M(
        "minibatch_logistic",
        "numpyro_guide",
        "scale_tril=w_scale",
        "precision_matrix=w_scale @ w_scale.T",
        "w",
        program="guide",
    ),
    "softplus_diagonal": M(
        "minibatch_logistic",
        "numpyro_guide",
        "constraints.lower_cholesky",
        "constraints.softplus_lower_cholesky",
        "w_scale",
        ("parameter",),
        "loss",
    ),
    "sd_as_variance": M(
        "minibatch_logistic",
        "numpyro_model",
        "Normal(jnp.zeros(3), 1.5).to_event(1)",
        "MultivariateNormal(jnp.zeros(3), 1.5 * jnp.eye(3))",
        "w",
    ),
    "clipped_probs": M(
        "minibatch_logistic",
        "numpyro_model_probs",
        "expit(x[i] @ w + b)",
        "jnp.clip(expit(x[i] @ w + b), 0.1, 0.9)",
        "y",
        case="CASE_PROBS",
    ),
    "clipped_only_far_out": M(
        "minibatch_logistic",
        "numpyro_model_probs",
        "expit(x[i] @ w + b)",
        "jnp.clip(expit(x[i] @ w + b), 1e-2, 1 - 1e-2)",
        "y",
        case="CASE_PROBS",
    ),
}  # the first rows and labels agree in shape, so nothing but numbers shows them

MIXTURE = {
    "dirichlet_order": M(
        "mixture", "numpyro_model", "[2.0, 1.0, 3.0]", "[3.0, 1.0, 2.0]", "weights"
    ),
    "gamma_for_inverse_gamma": M(
        "mixture", "numpyro_model", "InverseGamma(3.0, 2.0)", "Gamma(3.0, 2.0)", "scale"
    ),
    "scale_of_inverse_gamma": M(
        "mixture", "numpyro_model", "InverseGamma(3.0, 2.0)", "InverseGamma(3.0, 1 / 2.0)", "scale"
    ),
    "probs_as_logits": M(
        "mixture", "numpyro_model", "Categorical(weights)", "Categorical(logits=weights)", "k",
        case="CASE_MCMC",
    ),
    "unnormalised_probs": M(
        "mixture", "numpyro_model", "Categorical(weights)", "Categorical(probs=2 * weights)", "k",
        NUMERIC, case="CASE_MCMC",
    ),
    "labels_shifted": M(
        "mixture", "numpyro_model", "locs[k]", "locs[k - 1]", "x", case="CASE_MCMC"
    ),
    "not_enumerated": M(
        "mixture", "numpyro_model", ', infer={"enumerate": "parallel"}', "", "", ("loss",), "loss",
    ),
    "prebuilt_sizes": M(
        "mixture", "numpyro_model", 'plate("data", len(x))', 'plate("data", len(x), dim=-2)', "k",
        ("plates",), case="CASE_MCMC",
    ),
    "unconstrained_concentration": M(
        "mixture", "numpyro_guide", ", constraint=ndist.constraints.positive", "", "concentration",
        ("parameter",), "loss",
    ),
}  # fmt: skip

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

VAE = {
    "tanh_gelu": M(
        "vae", "LinenEncoder", "gelu(h, approximate=False)", "gelu(h)", "z", program="guide"
    ),
    "layer_norm_epsilon": M("vae", "LinenEncoder", "epsilon=1e-5, ", "", "z", program="guide"),
    "layers_exchanged": M(
        "vae", "numpyro_guide", "loc, log_scale = encoder(x)", "log_scale, loc = encoder(x)", "z",
        program="guide",
    ),
    "log_variance": M(
        "vae", "numpyro_guide", "jnp.exp(log_scale)", "jnp.exp(0.5 * log_scale)", "z",
        program="guide",
    ),
    "relu_for_softplus": M("vae", "LinenDecoder", "jax.nn.softplus", "jax.nn.relu", "x"),
    "to_event_missing_on_data": M(
        "vae", "numpyro_model", "Bernoulli(logits=decoder(z)).to_event(1)",
        "Bernoulli(logits=decoder(z))", "x", ("shape", "plates", "execution"),
    ),
    "single_precision_head": M(
        "vae", "numpyro_guide", "Normal(loc, ", "Normal(loc.astype(jnp.float32), ", "z",
        program="guide",
    ),
    "no_norm": M(
        "vae", "NnxEncoder", "self.norm(self.hidden(x))", "self.hidden(x)", "z", program="guide",
        case="CASE_NNX",
    ),
    "detached_encoder": M(
        "vae", "numpyro_guide", "encoder(x)", "jax.lax.stop_gradient(encoder(x))",
        "encoder$$$hidden.weight", ("gradient",), "loss",
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

DISCRETE_GUIDE = {
    "beta_swapped": M(
        "discrete_guide", "numpyro_model", "Beta(2.0, 3.0)", "Beta(3.0, 2.0)", "rate"
    ),
    "beta_of_guide_swapped": M(
        "discrete_guide", "numpyro_guide", "Beta(a, b)", "Beta(b, a)", "rate", program="guide"
    ),
    "categories_reversed": M("discrete_guide", "numpyro_model", "3.0 * on", "3.0 * (1 - on)", "y"),
    "trace_elbo_habit": M(
        "discrete_guide",
        "numpyro_guide",
        "slope * (y - 1.5)",
        "jax.lax.stop_gradient(slope) * (y - 1.5)",
        "slope",
        ("gradient",),
        "loss",
        imports=JAX,
    ),
    "centred_twice": M(
        "discrete_guide",
        "numpyro_guide",
        "slope * (y - 1.5)",
        "slope * (y - y.mean())",
        "on",
        program="guide",
    ),
}

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

LARGE_COUNTS = {
    "constant_total": M(
        "large_counts", "numpyro_model", "Binomial(trials, ", "Binomial(100000, ", "wins"
    ),
    "scale_for_rate": M(
        "large_counts", "numpyro_model", "Gamma(3.0, 1.0)", "Gamma(3.0, 1.5)", "rate"
    ),
    "dirichlet_order": M(
        "large_counts", "numpyro_model", "[2.0, 4.0, 2.0]", "[4.0, 2.0, 2.0]", "shares"
    ),
    "mean_for_log": M("large_counts", "numpyro_model", "jnp.exp(log_level)", "log_level", "large"),
    "mean_and_concentration_swapped": M(
        "large_counts",
        "numpyro_overdispersed",
        "(mean, concentration)",
        "(concentration, mean)",
        "counts",
        case="CASE_OVERDISPERSED",
    ),
    "sign_of_the_logits": M(
        "large_counts",
        "numpyro_overdispersed",
        "NegativeBinomial2(mean, concentration)",
        "NegativeBinomialLogits(concentration, jnp.log(concentration) - log_mean)",
        "counts",
        case="CASE_OVERDISPERSED",
    ),
    "multinomial_as_categories": M(
        "large_counts", "numpyro_model", "probs=shares", "probs=jnp.sort(shares)", "votes"
    ),
}

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

MISSING_DATA = {
    "mask_inverted": M("missing_data", "numpyro_model", "mask=labelled", "mask=~labelled", "y"),
    "mask_forgotten": M("missing_data", "numpyro_model", ".mask(seen)", "", "x"),
    "mask_of_the_distribution_inverted": M(
        "missing_data",
        "numpyro_masked_model",
        ".mask(labelled)",
        ".mask(~labelled)",
        "y",
        case="CASE_MASKED_DISTRIBUTION",
    ),
    "zeros_counted": M(
        "missing_data", "numpyro_guide", "(x * seen).sum(-1)", "x.sum(-1)", "z", program="guide"
    ),
    "wrong_axis": M(
        "missing_data",
        "numpyro_guide",
        "(x * seen).sum(-1)",
        "(x * seen).mean(-1)",
        "z",
        program="guide",
    ),
    "imputed_nowhere": M(
        "missing_data",
        "numpyro_imputing_model",
        ", obs_mask=labelled",
        "",
        "y_observed",
        ("sites",),
        case="CASE_OBS_MASK",
    ),
    "obs_mask_inverted": M(
        "missing_data",
        "numpyro_imputing_model",
        "obs_mask=labelled",
        "obs_mask=~labelled",
        "y_observed",
        ("density", "value"),
        case="CASE_OBS_MASK",
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

AUXILIARY = {
    "log_density_forgotten": M(
        "auxiliary", "numpyro_guide", ", log_density=0.1 * u", "", "loc", program="guide"
    ),
    "mean_forgotten": M(
        "auxiliary", "numpyro_guide", "u + 0.1 * y.mean()", "u", "loc", ("value",), "guide"
    ),
    "unmarked": M(
        "auxiliary", "numpyro_guide", ', infer={"is_auxiliary": True}', "", "u", ("sites",), "guide"
    ),
}

BAYESIAN_NETWORK = {
    "square_weight": M(
        "bayesian_network", "numpyro_model", "weight.T", "weight.reshape(IN, HIDDEN)", "y"
    ),
    "relu_for_tanh": M(
        "bayesian_network", "numpyro_model", "jnp.tanh(", "jax.nn.relu(", "y", imports=JAX
    ),
    "bias_after_tanh": M(
        "bayesian_network",
        "numpyro_model",
        "jnp.tanh(x @ weight.T + bias)",
        "jnp.tanh(x @ weight.T) + bias",
        "y",
    ),
    "biases_as_batch": M(
        "bayesian_network",
        "numpyro_model",
        "prior.expand([HIDDEN]).to_event(1)",
        "prior.expand([HIDDEN])",
        "first.bias",
        ("shape",),
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

ORDINAL = {
    "sign_of_the_predictor": M(
        "ordinal", "numpyro_model", "slope * x, cuts", "-slope * x, cuts", "y"
    ),
    "labels_reversed": M("ordinal", "numpyro_model", "obs=y", "obs=3 - y", "y", ("value",)),
    "unordered": M(
        "ordinal",
        "numpyro_model",
        ", constraint=ndist.constraints.ordered_vector",
        "",
        "cuts",
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
        ("plates", "shape", "execution"),
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
        wrong="pyro",
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

TOPICS = {
    "documents_and_words_exchanged": M(
        "topics", "numpyro_model", "shares @ topics", "shares[..., ::-1] @ topics", "w"
    ),
    "log_forgotten": M(
        "topics",
        "numpyro_logits_model",
        "jnp.log(shares @ topics)",
        "shares @ topics",
        "w",
        case="CASE_LOGITS",
    ),
    "pair_of_words": M(
        "topics", "numpyro_model", "obs=words", "obs=words[:, ::-1]", "w", ("value",)
    ),
    "gain_not_doubled": M(
        "topics",
        "numpyro_guide",
        "Dirichlet(2.0 * gain)",
        "Dirichlet(gain)",
        "shares",
        program="guide",
    ),
}

ZERO_INFLATION = {
    "gate_complement": M(
        "zero_inflation", "numpyro_model", "(gate, rate=rate)", "(1.0 - gate, rate=rate)", "counts"
    ),
    "gate_and_rate_swapped": M(
        "zero_inflation", "numpyro_model", "(gate, rate=rate)", "(rate, gate)", "counts", NUMERIC
    ),
    "not_inflated": M(
        "zero_inflation",
        "numpyro_model",
        "ZeroInflatedPoisson(gate, rate=rate)",
        "Poisson(rate)",
        "counts",
    ),
    "weights_reversed": M(
        "zero_inflation",
        "numpyro_model",
        "[weight, 1.0 - weight]",
        "[1.0 - weight, weight]",
        "sizes",
    ),
    "unconstrained_p": M(
        "zero_inflation", "numpyro_guide", "unit_interval", "positive", "p", ("parameter",), "loss"
    ),
}

AUTOGUIDES = {
    "link_forgotten": M(
        "autoguides",
        "numpyro_model",
        "jnp.exp(intercept + x @ slopes + effect)",
        "jax.nn.softplus(intercept + x @ slopes + effect)",
        "y",
        case="CASE_DIAGONAL",
        imports=JAX,
    ),
    "diagonal_for_multivariate": M(
        "autoguides",
        "make_numpyro_multivariate",
        "AutoMultivariateNormal",
        "AutoDiagonalNormal",
        "_AutoMultivariateNormal_latent",
        ("density", "sites", "parameter"),
        "guide",
        case="CASE_MULTIVARIATE",
    ),
    "rank": M(
        "autoguides",
        "make_numpyro_low_rank",
        "rank=2",
        "rank=1",
        "AutoLowRankMultivariateNormal.cov_factor",
        ("parameter",),
        "loss",
        case="CASE_LOW_RANK",
    ),
}

FAMILIES = (
    "EIGHT_SCHOOLS HIERARCHICAL_REGRESSION MINIBATCH MIXTURE STATE_SPACE VAE CROSSED_EFFECTS "
    "DISCRETE_GUIDE EXTREME_SCALES FACTORS GAUSSIAN_PROCESS HORSESHOE LARGE_COUNTS LONG_RECURSION "
    "MISSING_DATA NESTED_SUBSAMPLING AUXILIARY BAYESIAN_NETWORK CORRELATED_EFFECTS HIDDEN_MARKOV "
    "ORDINAL REFACTORINGS REWRITTEN SURVIVAL TOPICS ZERO_INFLATION AUTOGUIDES"
)

GROUPS = tuple(globals()[name] for name in FAMILIES.split())
