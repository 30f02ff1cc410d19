"""The question in Pyro: Normal in the model's plates, MultivariateNormal in the guide.

    python examples/question_pyro.py

The region between the marks is self-contained and is quoted in the README.
"""

# --- begin
import pyro
import pyro.distributions as dist
import torch
from pyro.infer import SVI, Trace_ELBO

from pyro_impl import MultivariateNormal

N, B, K, D = 1000, 100, 3, 8  # items, mini-batch, components, features
pyro.set_rng_seed(0)
loadings = torch.randn(D, 1) + 0.5 * torch.randn(D, K)  # parts that overlap
data = torch.randn(N, K) @ loadings.mT + torch.randn(N, D)
net = torch.nn.Sequential(
    torch.nn.Linear(D, 32), torch.nn.SiLU(), torch.nn.Linear(32, K + K * (K + 1) // 2)
)
rows, columns = torch.tril_indices(K, K)


def model(data):
    """`a` (K, B) in two plates, as in the question; `x` (B, D)."""
    with pyro.plate("mini_batch", N, subsample_size=B, dim=-1):
        x = pyro.subsample(data, event_dim=1)
        with pyro.plate("components", K, dim=-2):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))  # (K, B)
        pyro.sample("x", dist.Normal(a.mT @ loadings.mT, 1.0).to_event(1), obs=x)
    return a


def guide(data):
    """One multivariate normal per item, (B, K), handed to the plated `a` by a Delta."""
    pyro.module("net", net)
    with pyro.plate("mini_batch", N, subsample_size=B, dim=-1):
        out = net(pyro.subsample(data, event_dim=1))
        tril = out.new_zeros(B, K, K)
        tril[:, rows, columns] = out[:, K:]
        scale_tril = dist.transforms.LowerCholeskyTransform()(tril)  # (B, K, K)
        joint = MultivariateNormal(out[:, :K], scale_tril=scale_tril)  # batch (B,), event (K,)
        a_aux = pyro.sample("a_aux", joint, infer={"is_auxiliary": True})  # (B, K)
        with pyro.plate("components", K, dim=-2):
            pyro.sample("a", dist.Delta(a_aux.mT))  # (K, B), as in the model


svi = SVI(model, guide, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO())
losses = [svi.step(data) for _ in range(200)]
exact = dist.MultivariateNormal(torch.zeros(D), loadings @ loadings.mT + torch.eye(D))
print(f"ELBO per item {-losses[0] / N:.2f} at first, {-sum(losses[-20:]) / 20 / N:.2f} at last;")
print(f"the exact log evidence is {exact.log_prob(data).mean():.2f}")
print(pyro.poutine.trace(guide).get_trace(data).format_shapes(last_site="a"))
# --- end
