"""The question in Pyro: Normal in the model's plates, MultivariateNormal in the guide.

    python examples/question_pyro.py

The region between the marks is self-contained and is quoted in the README.
"""

# --- begin
import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.infer import SVI, Predictive, Trace_ELBO

from pyro_impl import MultivariateNormal, components_first, items_first

N, K, D = 1050, 3, 8  # items, components, features; the programs take any number of items
rng = np.random.default_rng(0)
parts = rng.normal(size=(D, 1)) + 0.5 * rng.normal(size=(D, K))  # that overlap
data = rng.normal(size=(N, K)) @ parts.T + rng.normal(size=(N, D))
loadings, data = torch.tensor(parts).float(), torch.tensor(data).float()
train, new = data[:1000], data[1000:]
pyro.set_rng_seed(0)
TRIANGLE = K * (K - 1) // 2  # numbers below the diagonal of a factor
rows, columns = torch.tril_indices(K, K, offset=-1)
net = torch.nn.Sequential(
    torch.nn.Linear(D, 32), torch.nn.SiLU(), torch.nn.Linear(32, K + TRIANGLE + K)
)
torch.nn.init.normal_(net[2].weight, std=0.01)  # keeps exp(...) tame


def model(data, batch_size=None):
    """`a` (K, B) in two plates, as in the question; `x` (B, D)."""
    with pyro.plate("mini_batch", len(data), subsample_size=batch_size, dim=-1):
        x = pyro.subsample(data, event_dim=1)
        with pyro.plate("components", K, dim=-2):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))  # (K, B)
        mean = items_first(a) @ loadings.mT  # (B, D)
        pyro.sample("x", dist.Normal(mean, 1.0).to_event(1), obs=x)
    return a


def guide(data, batch_size=None):
    """One multivariate normal per item, (B, K), handed to the plated `a` by a Delta."""
    pyro.module("net", net)
    with pyro.plate("mini_batch", len(data), subsample_size=batch_size, dim=-1):
        out = net(pyro.subsample(data, event_dim=1))
        loc, below, log_diagonal = out.split([K, TRIANGLE, K], dim=-1)
        scale_tril = log_diagonal.exp().diag_embed()  # (B, K, K)
        scale_tril[..., rows, columns] = below
        joint = MultivariateNormal(loc, scale_tril=scale_tril)  # batch (B,), event (K,)
        a_aux = pyro.sample("a_aux", joint, infer={"is_auxiliary": True})  # (B, K)
        with pyro.plate("components", K, dim=-2):
            pyro.sample("a", dist.Delta(components_first(a_aux)))  # (K, B), as in the model


svi = SVI(model, guide, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO())
losses = [svi.step(train, batch_size=100) / len(train) for _ in range(300)]
exact = dist.MultivariateNormal(torch.zeros(D), loadings @ loadings.mT + torch.eye(D))
print(f"ELBO per item {-losses[0]:.2f} at first, {-sum(losses[-20:]) / 20:.2f} at last;")
print(f"the exact log evidence is {exact.log_prob(train).mean():.2f}")
print(pyro.poutine.trace(guide).get_trace(train, batch_size=100).format_shapes(last_site="a"))

draws = Predictive(guide, num_samples=1000, parallel=True)(new)["a"]  # (1000, K, 50): new items
precision = torch.eye(K) + loadings.mT @ loadings
error = draws.mean(0) - torch.linalg.solve(precision, loadings.mT @ new.mT)
print(
    f"posterior means of {len(new)} new items: {error.square().mean().sqrt():.2f} from the exact ones"
)
# --- end
