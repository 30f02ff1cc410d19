#!/usr/bin/env bash
# NumPyro 0.22.0: `condition` fixes no plate's indices and says nothing; `substitute` does.
#
# Pyro's `condition` with the name of a subsampled plate fixes which items are taken. In NumPyro a ported line is
# ignored: the plate draws indices of its own.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    numpy==2.4.6 jax==0.10.2 jaxlib==0.10.2 numpyro==0.22.0 torch==2.13.0 pyro-ppl==1.9.2

cat > "$folder/program.py" <<'PROGRAM'
import jax.numpy as jnp
import numpyro
import pyro
import torch

pyro.set_rng_seed(0)
wanted = [1, 5, 8]


def pyro_model():
    with pyro.plate("items", 10, subsample_size=3) as items:
        pyro.sample("z", pyro.distributions.Normal(0.0, 1.0))
    return items.tolist()


def numpyro_model():
    with numpyro.plate("items", 10, subsample_size=3) as items:
        numpyro.sample("z", numpyro.distributions.Normal(0.0, 1.0))
    return items.tolist()


def told(items):
    return "taken" if items == wanted else "ignored"


given = {"items": torch.tensor(wanted)}
print("Pyro, condition:", told(pyro.poutine.condition(pyro_model, data=given)()))
given = {"items": jnp.array(wanted)}
for handler in (numpyro.handlers.condition, numpyro.handlers.substitute):
    model = handler(numpyro.handlers.seed(numpyro_model, 0), data=given)
    print(f"NumPyro, {handler.__name__}:", told(model()))
PROGRAM

expected="Pyro, condition: taken
NumPyro, condition: ignored
NumPyro, substitute: taken"
seen=$(JAX_PLATFORMS=cpu "$folder/venv/bin/python" -W ignore "$folder/program.py")
echo "$seen"
if [ "$seen" != "$expected" ]; then
    echo "This has changed; it was:" >&2
    echo "$expected" >&2
    exit 1
fi
