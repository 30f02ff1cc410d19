#!/usr/bin/env bash
# Pyro 1.9.2 and NumPyro 0.22.0: RenyiELBO subtracts a joint site of the guide once for every item.
#
# Both take their weights within the dims of the model's plates. With the exact posterior as guide each weight
# is the evidence. Sampled as one joint auxiliary site that a Delta passes on, the same posterior is subtracted
# in full from each item's density: a number, and no warning.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    numpy==2.4.6 torch==2.13.0 pyro-ppl==1.9.2 jax==0.10.2 jaxlib==0.10.2 numpyro==0.22.0

cat > "$folder/program.py" <<'PROGRAM'
import math

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as pdist
import torch

pyro.set_rng_seed(0)
values = [0.5, -1.0, 2.0, 1.5]  # each is N(0, 2): the exact loss is the sum of their negative log densities
exact = sum(0.5 * math.log(4 * math.pi) + v * v / 4 for v in values)


def programs(sample, plate, dist, y, joint):
    def model():
        with plate("items", len(y)):
            sample("y", dist.Normal(sample("z", dist.Normal(0.0, 1.0)), 1.0), obs=y)

    def guide():  # the exact posterior, one by one or as one site that is passed on
        each = dist.Normal(y / 2, 0.5**0.5)
        if joint:
            all_of_them = sample("all", each.to_event(1), infer={"is_auxiliary": True})
        with plate("items", len(y)):
            sample("z", dist.Delta(all_of_them) if joint else each)

    return model, guide


print(f"exact: {exact:.2f}")
for joint in (False, True):
    p = programs(pyro.sample, pyro.plate, pdist, torch.tensor(values), joint)
    n = programs(numpyro.sample, numpyro.plate, ndist, jnp.array(values), joint)
    of_pyro = pyro.infer.RenyiELBO(alpha=0.0, num_particles=2).loss(*p)
    of_numpyro = numpyro.infer.RenyiELBO(alpha=0.0, num_particles=2).loss(jax.random.key(0), {}, *n)
    what = "one joint site" if joint else "a site in the plate"
    near = ["exact" if abs(float(v) - exact) < 0.01 else "wrong" for v in (of_pyro, of_numpyro)]
    print(f"{what}: Pyro {near[0]}, NumPyro {near[1]}")
PROGRAM

expected="exact: 6.94
a site in the plate: Pyro exact, NumPyro exact
one joint site: Pyro wrong, NumPyro wrong"
seen=$(JAX_PLATFORMS=cpu "$folder/venv/bin/python" -W ignore "$folder/program.py")
echo "$seen"
if [ "$seen" != "$expected" ]; then
    echo "This has changed; it was:" >&2
    echo "$expected" >&2
    exit 1
fi
