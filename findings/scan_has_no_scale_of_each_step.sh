#!/usr/bin/env bash
# NumPyro 0.22.0: a weight that differs from step to step cannot be given inside of scan.
#
# handlers.scale with an entry of the scanned inputs, the way to weight the observations of a time series,
# raises JAX's UnexpectedTracerError: the scale of a site leaves the scanned function as static data. A mask
# with an entry of the inputs works.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    numpy==2.4.6 jax==0.10.2 jaxlib==0.10.2 numpyro==0.22.0

cat > "$folder/program.py" <<'PROGRAM'
import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro import handlers
from numpyro.contrib.control_flow import scan
from numpyro.infer.util import log_density

weights = jnp.array([1.0, 0.5, 2.0])
y = jnp.array([0.3, -0.2, 0.9])


def walk(weight, mask):
    def step(level, given):
        each, observed = given
        level = numpyro.sample("level", dist.Normal(level, 1.0))
        with handlers.scale(scale=each if weight else 1.0), handlers.mask(mask=each > 0.7 if mask else True):
            numpyro.sample("y", dist.Normal(level, 1.0), obs=observed)
        return level, None

    scan(step, 0.0, (weights, y))


levels = {"level": jnp.zeros(3)}
for what, given in {
    "neither": (False, False),
    "a mask of each step": (False, True),
    "a weight of each step": (True, False),
}.items():
    try:
        density, _ = log_density(walk, given, {}, levels)
        print(f"{what}: {float(density):.2f}")
    except Exception as error:
        print(f"{what}: {type(error).__name__}")
PROGRAM

expected="neither: -5.98
a mask of each step: -5.04
a weight of each step: UnexpectedTracerError"
seen=$(JAX_PLATFORMS=cpu "$folder/venv/bin/python" -W ignore "$folder/program.py")
echo "$seen"
if [ "$seen" != "$expected" ]; then
    echo "This has changed; it was:" >&2
    echo "$expected" >&2
    exit 1
fi
