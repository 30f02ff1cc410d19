#!/usr/bin/env bash
# NumPyro 0.22.0: TraceGraph_ELBO scales the score-function gradient twice.
#
# A weight (handlers.scale, or N/B of a mini-batch) of 4 makes the loss 4 times as large, and so the gradient.
# That of TraceGraph_ELBO is 16 times as large: both the cost and the log density whose score it weights carry
# the factor. The loss is right, so nothing shows but training at another balance of its terms.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    numpy==2.4.6 jax==0.10.2 jaxlib==0.10.2 numpyro==0.22.0 funsor==0.4.8

cat > "$folder/program.py" <<'PROGRAM'
import jax
import numpyro
import numpyro.distributions as dist
from numpyro import handlers
from numpyro.infer import TraceEnum_ELBO, TraceGraph_ELBO


def program(weight):
    """log p(y, z) and log q(z), both `weight` times: of a weighted observation, or of a mini-batch."""

    def model():
        with handlers.scale(scale=weight):
            coin = numpyro.sample("coin", dist.Bernoulli(0.4))
            numpyro.sample("y", dist.Normal(3.0 * coin, 1.0), obs=1.0)

    def guide():
        with handlers.scale(scale=weight):
            numpyro.sample("coin", dist.Bernoulli(logits=numpyro.param("logit", 0.0)))

    return model, guide


for kind in (TraceEnum_ELBO, TraceGraph_ELBO):
    elbo = kind(num_particles=2000)
    value, slope = {}, {}
    for weight in (1.0, 4.0):
        loss = lambda logit: elbo.loss(jax.random.key(1), {"logit": logit}, *program(weight))
        value[weight], slope[weight] = jax.value_and_grad(loss)(0.0)
    print(f"{kind.__name__}: loss x{value[4.0] / value[1.0]:.2f}, gradient x{slope[4.0] / slope[1.0]:.2f}")
PROGRAM

expected="TraceEnum_ELBO: loss x4.00, gradient x4.00
TraceGraph_ELBO: loss x4.00, gradient x16.00"
seen=$(JAX_PLATFORMS=cpu "$folder/venv/bin/python" -W ignore "$folder/program.py")
echo "$seen"
if [ "$seen" != "$expected" ]; then
    echo "This has changed; it was:" >&2
    echo "$expected" >&2
    exit 1
fi
