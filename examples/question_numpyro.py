"""The question in NumPyro: Normal in the model's plates, MultivariateNormal in the guide.

    python examples/question_numpyro.py

The region between the marks is self-contained and is quoted in the README.
"""

# --- begin
import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from flax import nnx
from numpyro import handlers
from numpyro.contrib.module import nnx_module
from numpyro.infer import SVI, Trace_ELBO

from numpyro_impl import MultivariateNormal

N, B, K, D = 1000, 100, 3, 8  # items, mini-batch, components, features
keys, normal = jax.random.split(jax.random.key(0), 5), jax.random.normal
loadings = normal(keys[0], (D, 1)) + 0.5 * normal(keys[1], (D, K))  # parts that overlap
data = normal(keys[2], (N, K)) @ loadings.mT + normal(keys[3], (N, D))
rngs, small = nnx.Rngs(0), nnx.initializers.normal(0.01)  # keeps exp(...) tame
net = nnx.Sequential(
    nnx.Linear(D, 32, rngs=rngs),
    nnx.silu,
    nnx.Linear(32, K + K * (K + 1) // 2, kernel_init=small, rngs=rngs),
)


def model(data):
    """`a` (K, B) in two plates, as in the question; `x` (B, D)."""
    with numpyro.plate("mini_batch", N, subsample_size=B, dim=-1):
        x = numpyro.subsample(data, event_dim=1)
        with numpyro.plate("components", K, dim=-2):
            a = numpyro.sample("a", dist.Normal(0.0, 1.0))  # (K, B)
        numpyro.sample("x", dist.Normal(a.mT @ loadings.mT, 1.0).to_event(1), obs=x)
    return a


def guide(data):
    """One multivariate normal per item, (B, K), handed to the plated `a` by a Delta."""
    apply = nnx_module("net", net)
    with numpyro.plate("mini_batch", N, subsample_size=B, dim=-1):
        out = apply(numpyro.subsample(data, event_dim=1))
        scale_tril = dist.transforms.LowerCholeskyTransform()(out[:, K:])  # (B, K, K)
        joint = MultivariateNormal(out[:, :K], scale_tril=scale_tril)  # batch (B,), event (K,)
        a_aux = numpyro.sample("a_aux", joint, infer={"is_auxiliary": True})  # (B, K)
        with numpyro.plate("components", K, dim=-2):
            numpyro.sample("a", dist.Delta(a_aux.mT))  # (K, B), as in the model


svi = SVI(model, guide, numpyro.optim.Adam(1e-2), Trace_ELBO())
losses = svi.run(keys[4], 200, data, progress_bar=False).losses
exact = dist.MultivariateNormal(jnp.zeros(D), loadings @ loadings.mT + jnp.eye(D))
print(f"ELBO per item {-losses[0] / N:.2f} at first, {-losses[-20:].mean() / N:.2f} at last;")
print(f"the exact log evidence is {exact.log_prob(data).mean():.2f}")
print(numpyro.util.format_shapes(handlers.trace(handlers.seed(guide, 0)).get_trace(data)))
# --- end
