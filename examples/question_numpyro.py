"""The question in NumPyro: Normal in the model's plates, MultivariateNormal in the guide.

    python examples/question_numpyro.py

The region between the marks is self-contained and is quoted in the README.
"""

# --- begin
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from flax import nnx
from numpyro import handlers
from numpyro.contrib.module import nnx_module
from numpyro.infer import SVI, Predictive, Trace_ELBO

from numpyro_impl import MultivariateNormal, components_first, items_first

N, K, D = 1050, 3, 8  # items, components, features; the programs take any number of items
rng = np.random.default_rng(0)
parts = rng.normal(size=(D, 1)) + 0.5 * rng.normal(size=(D, K))  # that overlap
data = rng.normal(size=(N, K)) @ parts.T + rng.normal(size=(N, D))
loadings, data = jnp.array(parts), jnp.array(data)
train, new = data[:1000], data[1000:]
TRIANGLE = K * (K - 1) // 2  # numbers below the diagonal of a factor
rows, columns = jnp.tril_indices(K, -1)
rngs, small = nnx.Rngs(0), nnx.initializers.normal(0.01)  # keeps exp(...) tame
net = nnx.Sequential(
    nnx.Linear(D, 32, rngs=rngs),
    nnx.silu,
    nnx.Linear(32, K + TRIANGLE + K, kernel_init=small, rngs=rngs),
)


def model(data, batch_size=None):
    """`a` (K, B) in two plates, as in the question; `x` (B, D)."""
    with numpyro.plate("mini_batch", len(data), subsample_size=batch_size, dim=-1):
        x = numpyro.subsample(data, event_dim=1)
        with numpyro.plate("components", K, dim=-2):
            a = numpyro.sample("a", dist.Normal(0.0, 1.0))  # (K, B)
        mean = items_first(a) @ loadings.mT  # (B, D)
        numpyro.sample("x", dist.Normal(mean, 1.0).to_event(1), obs=x)
    return a


def guide(data, batch_size=None):
    """One multivariate normal per item, (B, K), handed to the plated `a` by a Delta."""
    apply = nnx_module("net", net)
    with numpyro.plate("mini_batch", len(data), subsample_size=batch_size, dim=-1):
        out = apply(numpyro.subsample(data, event_dim=1))
        loc, below, log_diagonal = jnp.split(out, [K, K + TRIANGLE], axis=-1)
        scale_tril = jnp.exp(log_diagonal)[..., None] * jnp.eye(K)  # (B, K, K)
        scale_tril = scale_tril.at[..., rows, columns].set(below)
        joint = MultivariateNormal(loc, scale_tril=scale_tril)  # batch (B,), event (K,)
        a_aux = numpyro.sample("a_aux", joint, infer={"is_auxiliary": True})  # (B, K)
        with numpyro.plate("components", K, dim=-2):
            numpyro.sample("a", dist.Delta(components_first(a_aux)))  # (K, B), as in the model


svi = SVI(model, guide, numpyro.optim.Adam(1e-2), Trace_ELBO())
fit = svi.run(jax.random.key(0), 300, train, batch_size=100, progress_bar=False)
losses = fit.losses / len(train)
exact = dist.MultivariateNormal(jnp.zeros(D), loadings @ loadings.mT + jnp.eye(D))
print(f"ELBO per item {-losses[0]:.2f} at first, {-losses[-20:].mean():.2f} at last;")
print(f"the exact log evidence is {exact.log_prob(train).mean():.2f}")
trace = handlers.trace(handlers.seed(guide, 0)).get_trace(train, batch_size=100)
print(numpyro.util.format_shapes(trace))

predictive = Predictive(guide, params=fit.params, num_samples=1000, parallel=True)
draws = predictive(jax.random.key(1), new)["a"]  # (1000, K, 50): new items
precision = jnp.eye(K) + loadings.mT @ loadings
error = draws.mean(0) - jnp.linalg.solve(precision, loadings.mT @ new.mT)
print(
    f"posterior means of {len(new)} new items: {jnp.sqrt(jnp.square(error).mean()):.2f} from the exact ones"
)
# --- end
