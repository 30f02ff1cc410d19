"""Mistakes with counts, categories and mixtures."""

from __future__ import annotations

from equivalence_tests.mutation.port_mistakes.mistake import JAX, NUMERIC, M

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
        "mixture", "numpyro_model", ', infer={"enumerate": "parallel"}', "", "k", ("loss",), "loss",
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

GROUPS = (MINIBATCH, MIXTURE, DISCRETE_GUIDE, LARGE_COUNTS, ORDINAL, TOPICS, ZERO_INFLATION)
