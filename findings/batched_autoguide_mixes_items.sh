#!/usr/bin/env bash
# NumPyro 0.22.0: AutoBatchedMultivariateNormal mixes items as soon as the plate holds two sites.
#
# Two latents of each item whose sum is observed have correlation -0.99 given the data, and items are
# independent. The guide has a covariance for each row of what AutoContinuous packs site after site: with two
# items the first row holds both items' first latent, the second both items' second.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    numpy==2.4.6 jax==0.10.2 jaxlib==0.10.2 numpyro==0.22.0

cat > "$folder/program.py" <<'PROGRAM'
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.infer import SVI, Trace_ELBO
from numpyro.infer.autoguide import AutoBatchedMultivariateNormal


def model():
    with numpyro.plate("items", 2):
        first = numpyro.sample("first", dist.Normal(0.0, 1.0))
        second = numpyro.sample("second", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(first + second, 0.1), obs=jnp.zeros(2))


guide = AutoBatchedMultivariateNormal(model, batch_ndim=1)
svi = SVI(model, guide, numpyro.optim.Adam(0.02), Trace_ELBO(num_particles=16))
trained = svi.run(jax.random.key(0), 3000, progress_bar=False)
draws = guide.sample_posterior(jax.random.key(1), trained.params, sample_shape=(20_000,))
of = lambda a, b: np.corrcoef(a, b)[0, 1]
within = of(draws["first"][:, 0], draws["second"][:, 0])
between = of(draws["first"][:, 0], draws["first"][:, 1])
print(f"within an item: exact -0.99, guide {'strong' if abs(within) > 0.9 else 'none'}")
print(f"between two items: exact none, guide {'none' if abs(between) < 0.05 else 'some'}")
PROGRAM

expected="within an item: exact -0.99, guide none
between two items: exact none, guide some"
seen=$(JAX_PLATFORMS=cpu "$folder/venv/bin/python" -W ignore "$folder/program.py")
echo "$seen"
if [ "$seen" != "$expected" ]; then
    echo "This has changed; it was:" >&2
    echo "$expected" >&2
    exit 1
fi
