#!/usr/bin/env bash
# Pyro 1.9.2: a fresh automatic guide of another model starts from the values of the one before.
#
# Automatic guides of one class give their parameters the same names in Pyro's store. A second guide that is made
# in the same process, for a model of the same number of latents, takes over the trained values of the first one:
# no error, no warning. Its start is not where its own model says.
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
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoMultivariateNormal

pyro.set_rng_seed(0)


def near_five():
    pyro.sample("z", dist.Normal(5.0, 0.1).expand([2]).to_event(1))


def near_a_hundred():
    pyro.sample("w", dist.Normal(100.0, 0.1).expand([2]).to_event(1))


def median_of_a_fresh_guide(model, name):
    guide = AutoMultivariateNormal(model)
    guide()
    return f"{guide.median()[name].mean():.0f}"


print("alone, the second guide starts at", median_of_a_fresh_guide(near_a_hundred, "w"))
pyro.clear_param_store()
guide = AutoMultivariateNormal(near_five)
svi = SVI(near_five, guide, pyro.optim.Adam({"lr": 0.05}), Trace_ELBO())
for _ in range(500):
    svi.step()
print("after a first one, the second guide starts at", median_of_a_fresh_guide(near_a_hundred, "w"))
PROGRAM

expected="alone, the second guide starts at 100
after a first one, the second guide starts at 5"
seen=$("$folder/venv/bin/python" -W ignore "$folder/program.py")
echo "$seen"
if [ "$seen" != "$expected" ]; then
    echo "This has changed; it was:" >&2
    echo "$expected" >&2
    exit 1
fi
