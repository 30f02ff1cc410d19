"""Mistakes of the remaining kinds: dropped sites, prepared data, gradients alone, objectives."""

from __future__ import annotations

from equivalence_tests.mutation.port_mistakes.mistake import JAX, M

DROPPED = {
    "local_latent_dropped": M(
        "eight_schools",
        "numpyro_model",
        'theta = numpyro.sample("theta", ndist.Normal(mu, tau))',
        "theta = mu",
        "theta",
        ("sites",),
    ),
    "group_latent_dropped": M(
        "hierarchical_regression",
        "numpyro_model",
        'alpha = numpyro.sample("alpha", ndist.Normal(mu, tau))',
        "alpha = jnp.full(GROUPS, mu)",
        "alpha",
        ("sites",),
    ),
    "latent_imputed_by_its_mean": M(
        "missing_data",
        "numpyro_model",
        'numpyro.sample("z", ndist.Normal(0.0, 1.0))',
        "jnp.zeros(len(x))",
        "z",
        ("sites",),
    ),
    "averaged_event": M(
        "missing_data",
        "numpyro_model",
        "ndist.Normal(mean, 0.8).mask(seen).to_event(1), obs=x)",
        "ndist.Normal(mean.mean(-1), 0.8), obs=x.mean(-1))",
        "x",
        ("shape",),
    ),
}

PLATES = {
    "plate_of_twice_the_size": M(
        "minibatch_logistic", "numpyro_model", "len(x), subsample", "2 * len(x), subsample", "y",
        ("plates",),
    ),
    "plates_built_outside": M(
        "crossed_effects",
        "numpyro_model",
        """    students = numpyro.plate("students", N, dim=-2)
    questions = numpyro.plate("questions", N, dim=-1)
""",
        """    students = numpyro.plate("students", N)
    questions = numpyro.plate("questions", N)
""",
        "ability",
        ("plates",),
    ),
    "guide_scaled": M(
        "nested_subsampling", "numpyro_guide", "        numpyro.sample(",
        "        numpyro.handlers.scale(numpyro.sample, 2.0)(", "theta", ("density",), "guide",
    ),
    "guide_plate_of_the_batch": M(
        "nested_subsampling", "numpyro_guide", '"groups", 6, subsample_size=3', '"groups", 3',
        "theta", ("plates",), "guide",
    ),
}  # fmt: skip

SIZES = {
    "one_loc_for_all": M(
        "hierarchical_regression", "numpyro_guide", '"alpha_loc", jnp.zeros(GROUPS)',
        '"alpha_loc", 0.0', "alpha_loc", ("parameter",), "loss",
    ),
    "pyro_one_loc_for_all": M(
        "hierarchical_regression", "pyro_guide", '"alpha_loc", torch.zeros(GROUPS)',
        '"alpha_loc", torch.tensor(0.0)', "alpha_loc", ("parameter",), "loss",
    ),
}  # fmt: skip

SUPPORTS = {
    "normal_for_half_normal": M(
        "crossed_effects", "numpyro_model", "HalfNormal(1.0)", "Normal(0.0, 1.0)", "spread",
        ("support",),
    ),
    "correlation_for_its_factor": M(
        "correlated_effects", "numpyro_model", "LKJCholesky(2, 2.0)", "LKJ(2, 2.0)", "corr",
        ("support",),
    ),
    "rate_omitted": M("survival", "numpyro_model", "Gamma(4.0, 3.0)", "Gamma(4.0)", "shape"),
    "mean_for_ratio": M(
        "large_counts", "numpyro_overdispersed", "mean, concentration)",
        "mean / concentration, concentration)", "counts", case="CASE_OVERDISPERSED",
    ),
    "epsilon_dropped": M("extreme_scales", "numpyro_model", "s + 1e-9", "s", "tiny"),
}  # fmt: skip

PREPARED_DATA = {
    "biased_deviation": M(
        "prepared_data", "numpyro_model", "x.std(0, ddof=1)", "x.std(0)", "z", ("value",)
    ),
    "averaging_median": M(
        "prepared_data", "numpyro_model", 'jnp.quantile(x, 0.5, axis=0, method="lower")',
        "jnp.median(x, axis=0)", "z", ("value",),
    ),
    "square_weight": M(
        "prepared_data", "numpyro_model", "z @ weight.T", "z @ weight", "shares", ("value",)
    ),
    "logsumexp_of_the_rows": M(
        "prepared_data", "numpyro_model", "axis=-1", "axis=0", "shares", ("value",)
    ),
    "bytes": M(
        "prepared_data", "numpyro_model", "counts / 100.0", "counts.astype(jnp.uint8) / 100.0",
        "z", ("value",),
    ),
    "half_precision": M(
        "prepared_data", "numpyro_model", "counts / 100.0",
        "(counts / 100.0).astype(jnp.float16)", "z", ("value",),
    ),
    "other_column_of_the_data": M(
        "prepared_data", "numpyro_model", "y[:, 1]", "y[:, 0]", "y", ("value",)
    ),
    "exp_for_softplus": M(
        "prepared_data", "numpyro_model", "jax.nn.softplus(raw)", "jnp.exp(raw)", "y"
    ),
}  # fmt: skip

GRADIENTS = {
    "abs_at_zero": M(
        "gradients", "numpyro_model", "jnp.sign(lasso) * lasso", "jnp.abs(lasso)", "lasso",
        ("gradient",), "loss",
    ),
    "norm_at_zero": M(
        "gradients", "numpyro_model", "norm(group)", "jnp.linalg.norm(group, axis=-1)", "group",
        ("gradient",), "loss",
    ),
    "maximum_at_zero": M(
        "gradients", "numpyro_model", "jax.nn.relu(gate)", "jnp.maximum(gate, 0.0)", "gate",
        ("gradient",), "loss",
    ),
    "clip_at_a_bound": M(
        "gradients", "numpyro_model", "clamp(share", "jnp.clip(share", "share", ("gradient",),
        "loss",
    ),
    "stop_gradient_missing": M(
        "gradients", "numpyro_guide", "jax.lax.stop_gradient(a)", "a", "a", ("gradient",), "loss"
    ),
}  # fmt: skip

OBJECTIVES = {
    "trace_elbo_with_discrete_guide": M(
        "discrete_guide",
        "CASE",
        'loss="TraceGraph_ELBO"',
        'loss="Trace_ELBO"',
        "slope",
        ("gradient",),
        "loss",
    ),
    "mean_field_autoguide": M(
        "autoguides",
        "CASE_NORMAL",
        "args=(x, y)",
        'args=(x, y), loss="TraceMeanField_ELBO"',
        "spread",
        ("loss",),
        "loss",
        case="CASE_NORMAL",
    ),
    "enumerated_scan": M(
        "hidden_markov",
        "numpyro_model",
        """    state = 0
    for t in markov(range(len(y))):
        on = jnp.where(state == 1, stay, 1.0 - stay)
        state = numpyro.sample(f"state_{t}", ndist.Bernoulli(on), infer={"enumerate": "parallel"})
        numpyro.sample(f"y_{t}", ndist.Normal(gap * state, 0.7), obs=y[t])""",
        """
    def step(state, y):
        on = jnp.where(state == 1, stay, 1.0 - stay)
        state = numpyro.sample("state", ndist.Bernoulli(on), infer={"enumerate": "parallel"})
        numpyro.sample("y", ndist.Normal(gap * state, 0.7), obs=y)
        return state, None

    scan(step, 0, y)""",
        "state_0",
        ("loss",),
        "loss",
        imports="from numpyro.contrib.control_flow import scan",
    ),
    "emission_not_enumerated": M(
        "hidden_markov",
        "numpyro_model",
        ', infer={"enumerate": "parallel"}',
        "",
        "state_0",
        ("loss",),
        "loss",
    ),
    "enumerated_guide_sign": M(
        "discrete_guide",
        "numpyro_enumerating_guide",
        "slope * (y - 1.5)",
        "slope * (1.5 - y)",
        "on",
        program="guide",
        case="CASE_ENUMERATED",
    ),
    "enumerated_guide_as_probs": M(
        "discrete_guide",
        "numpyro_enumerating_guide",
        "Bernoulli(logits=logits)",
        "Bernoulli(probs=jnp.exp(-jnp.exp(-logits)))",
        "on",
        program="guide",
        case="CASE_ENUMERATED",
        imports="from jax import numpy as jnp",
    ),
}

NETWORKS = {
    "heads_in_another_order": M(
        "vae",
        "LinenEncoder",
        """        h = flax.linen.Dense(HIDDEN, name="hidden")(x)
        h = flax.linen.LayerNorm(epsilon=1e-5, use_fast_variance=False, name="norm")(h)
        h = jax.nn.gelu(h, approximate=False)
        loc = flax.linen.Dense(LATENT, name="loc")(h)
        return loc, 0.1 * flax.linen.Dense(LATENT, name="log_scale")(h)""",
        """        h = flax.linen.Dense(HIDDEN)(x)
        h = flax.linen.LayerNorm(epsilon=1e-5, use_fast_variance=False)(h)
        h = jax.nn.gelu(h, approximate=False)
        log_scale = flax.linen.Dense(LATENT)(h)
        return flax.linen.Dense(LATENT)(h), 0.1 * log_scale""",
        "z",
        program="guide",
    ),
    "square_weight_of_the_network": M(
        "bayesian_network",
        "numpyro_model",
        "(hidden @ second.T + second_bias)",
        "(hidden[:, ::-1] @ second.T + second_bias)",
        "y",
    ),
    "shared_event_dim": M(
        "vae",
        "numpyro_guide",
        "ndist.Normal(loc, jnp.exp(log_scale)).to_event(1)",
        "ndist.Normal(loc, jnp.exp(log_scale))",
        "z",
        ("shape", "plates", "execution"),
        "guide",
    ),
    "detached_scale": M(
        "minibatch_logistic",
        "numpyro_guide",
        "scale_tril=w_scale",
        "scale_tril=jax.lax.stop_gradient(w_scale)",
        "w_scale",
        ("gradient",),
        "loss",
        imports=JAX,
    ),
}

PRECISION = {
    "single_precision_of_few_trials": M(
        "large_counts", "numpyro_model", "logits=logit)",
        "logits=jnp.where(trials < 10, logit.astype(jnp.float32), logit))", "wins",
    ),
    "single_precision_of_a_concentration": M(
        "large_counts", "numpyro_overdispersed", "(mean, concentration)",
        "(mean, concentration.astype(jnp.float32))", "counts", case="CASE_OVERDISPERSED",
    ),
    "single_precision_of_a_focus": M(
        "directions", "numpyro_model", "VonMises(north, focus)",
        "VonMises(north, focus.astype(np.float32))", "angles",
    ),
    "centred_angles": M(
        "directions", "numpyro_model", "VonMises(north, focus)", "VonMises(-north, focus)", "angles"
    ),
    "single_precision_of_the_data": M(
        "extreme_scales", "numpyro_model", "obs=tiny)", "obs=tiny.astype(np.float32))", "tiny",
        ("value",),
    ),
}  # fmt: skip

GROUPS = (
    DROPPED,
    PLATES,
    SIZES,
    SUPPORTS,
    PREPARED_DATA,
    GRADIENTS,
    OBJECTIVES,
    NETWORKS,
    PRECISION,
)
