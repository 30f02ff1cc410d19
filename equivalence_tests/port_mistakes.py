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
    "half_normal": M(
        "eight_schools", "numpyro_model", "HalfCauchy(5.0)", "HalfNormal(5.0)", "tau"
    ),
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
        "Bernoulli(probs)",
        "y",
        case="CASE_PROBS",
        imports="",
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
        "jnp.clip(expit(x[i] @ w + b), 1e-3, 1 - 1e-3)",
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
    "no_bias": M(
        "vae", "NnxEncoder", "self.loc = nnx.Linear(FEATURES", "self.loc = nnx.Linear(FEATURES",
        "z",
    ),
    "detached_encoder": M(
        "vae", "numpyro_guide", "encoder(x)", "jax.lax.stop_gradient(encoder(x))",
        "encoder$$$hidden.weight", ("gradient",), "loss",
    ),
}  # fmt: skip
VAE.pop("no_bias")

GROUPS = (EIGHT_SCHOOLS, HIERARCHICAL_REGRESSION, MINIBATCH, MIXTURE, STATE_SPACE, VAE)
