#!/usr/bin/env bash
# Pyro 1.9.2: TraceMeanField_ELBO leaves out the log density of a Delta.
#
# The guide is the prior, so that the loss is 0 at every draw; Trace_ELBO says so. TraceMeanField_ELBO takes a
# closed form for (Delta, anything), which is -log p at the point: a change of variables in the guide (an
# automatic guide on a positive latent, a bijection after an auxiliary site) loses its Jacobian, and training
# goes to another optimum without a word.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    numpy==2.4.6 torch==2.13.0 pyro-ppl==1.9.2

cat > "$folder/program.py" <<'PROGRAM'
import pyro
import pyro.distributions as dist
import torch
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO

pyro.set_rng_seed(0)
SD = 0.5


def model():
    pyro.sample("rate", dist.LogNormal(0.0, SD))


def guide():  # the same distribution, by way of its logarithm
    log_rate = pyro.sample("log_rate", dist.Normal(0.0, SD), infer={"is_auxiliary": True})
    pyro.sample("rate", dist.Delta(log_rate.exp(), log_density=-log_rate))


for loss in (Trace_ELBO, TraceMeanField_ELBO):
    worst = max(abs(loss().loss(model, guide)) for _ in range(100))
    print(f"{loss.__name__}: of 100 losses the largest is {worst:.1f}")
PROGRAM

expected="Trace_ELBO: of 100 losses the largest is 0.0
TraceMeanField_ELBO: of 100 losses the largest is 1.3"
seen=$(JAX_PLATFORMS=cpu "$folder/venv/bin/python" -W ignore "$folder/program.py")
echo "$seen"
if [ "$seen" != "$expected" ]; then
    echo "This has changed; it was:" >&2
    echo "$expected" >&2
    exit 1
fi
