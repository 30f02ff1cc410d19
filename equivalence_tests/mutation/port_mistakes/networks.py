"""Mistakes with networks, guides and prepared data."""

from __future__ import annotations

from equivalence_tests.mutation.port_mistakes.mistake import JAX, M

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

AUTOGUIDES = {
    "link_forgotten": M(
        "autoguides",
        "numpyro_model",
        "jnp.exp(intercept + x @ slopes + effect)",
        "jax.nn.softplus(intercept + x @ slopes + effect)",
        "y",
        case="CASE_NORMAL",
        imports=JAX,
    ),
    "diagonal_for_multivariate": M(
        "autoguides",
        "make_numpyro_multivariate",
        "AutoMultivariateNormal",
        "AutoDiagonalNormal",
        "AutoMultivariateNormal.scale_tril",
        ("parameter",),
        "loss",
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

AUXILIARY = {
    "log_density_forgotten": M(
        "auxiliary", "numpyro_guide", ", log_density=0.1 * u", "", "loc", program="guide"
    ),
    "mean_forgotten": M(
        "auxiliary", "numpyro_guide", "u + 0.1 * y.mean()", "u", "loc", ("value",), "guide"
    ),
    "scale_squared": M(
        "auxiliary",
        "numpyro_guide",
        "Normal(mean, scale)",
        "Normal(mean, scale**2)",
        "u",
        program="guide",
    ),
    "unmarked": M(
        "auxiliary", "numpyro_guide", ', infer={"is_auxiliary": True}', "", "u", ("sites",), "guide"
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
        "y",
        ("value",),
        case="CASE_OBS_MASK",
    ),
}

HAIKU = {
    "offset_left_out": M(
        "haiku_networks", "encode", "create_offset=True", "create_offset=False",
        "encoder$$$norm.bias", ("parameter",), "loss",
    ),
    "softplus_for_relu": M(
        "haiku_networks", "decode", "FEATURES])", "FEATURES], activation=jax.nn.softplus)", "x",
        imports=JAX,
    ),
    "heads_exchanged": M(
        "haiku_networks", "numpyro_guide", "loc, log_scale = ", "log_scale, loc = ", "z",
        program="guide",
    ),
    "rate_without_link": M(
        "haiku_networks", "numpyro_model", "jnp.exp(decoder.apply(weights, z))",
        "jax.nn.softplus(decoder.apply(weights, z))", "x", imports=JAX,
    ),
}  # fmt: skip

EQUINOX = {
    "norm_left_out": M(
        "equinox_networks", "EquinoxNet", "self.norm(self.first(x))", "self.first(x)", "y"
    ),
    "relu_for_softplus": M("equinox_networks", "EquinoxNet", "softplus", "relu", "y"),
    "detached_net": M(
        "equinox_networks", "make_numpyro", "jax.vmap(net)(x).T",
        "jax.lax.stop_gradient(jax.vmap(net)(x)).T", "net$$$first.weight", ("gradient",), "loss",
    ),
    "one_prior_for_all": M(
        "equinox_networks", "make_numpyro_random", '0.7 if name.endswith("weight") else 0.5',
        "0.7", "first.bias", case="CASE_RANDOM",
    ),
}  # fmt: skip

GROUPS = (HAIKU, EQUINOX, VAE, BAYESIAN_NETWORK, AUTOGUIDES, AUXILIARY, MISSING_DATA)
