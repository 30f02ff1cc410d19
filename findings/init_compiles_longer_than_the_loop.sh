#!/usr/bin/env bash
# NumPyro 0.22.0 on JAX 0.10.2: before the first step of a small variational autoencoder, `SVI.init` compiles some
# sixty programs, which takes longer than compiling the whole loop of steps.
#
# `init` runs guide and model operation by operation, and JAX compiles a program for each operation and shape. Under
# `jax.jit`, which drops what no parameter depends on, it is one program, with the same parameters; but then NumPyro
# checks no argument of a distribution, and an automatic guide would keep what JAX traces.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    numpy==2.4.6 jax==0.10.2 numpyro==0.22.0 flax==0.12.8

cat > "$folder/program.py" <<'PROGRAM'
import collections

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.contrib.module import flax_module
from numpyro.infer import SVI, Trace_ELBO

spent = collections.Counter()


def note(event, seconds, **_):
    if event.endswith("backend_compile_duration"):
        spent.update(programs=1, seconds=seconds)


jax.monitoring.register_event_duration_secs_listener(note)


class Network(nn.Module):
    outputs: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.outputs)(nn.relu(nn.Dense(64)(nn.relu(nn.Dense(64)(x)))))


def model(x):
    decode = flax_module("decoder", Network(30), input_shape=(10,))
    with numpyro.plate("items", len(x)):
        z = numpyro.sample("z", dist.Normal(jnp.zeros(10), 1.0).to_event(1))
        numpyro.sample("x", dist.Normal(decode(z), 0.5).to_event(1), obs=x)


def guide(x):
    encode = flax_module("encoder", Network(20), input_shape=(30,))
    with numpyro.plate("items", len(x)):
        loc, log_scale = jnp.split(encode(x), 2, axis=-1)
        numpyro.sample("z", dist.Normal(loc, jnp.exp(log_scale)).to_event(1))


def compiled(function):
    before = spent.copy()
    result = jax.block_until_ready(function())
    return result, spent["programs"] - before["programs"], spent["seconds"] - before["seconds"]


x = jnp.asarray(np.random.default_rng(0).normal(size=(256, 30)), jnp.float32)
key = jax.random.key(0)
svi = SVI(model, guide, numpyro.optim.Adam(1e-3), Trace_ELBO())
state, programs, in_init = compiled(lambda: svi.init(key, x))
loop = jax.jit(lambda state: jax.lax.fori_loop(0, 1000, lambda _, s: svi.update(s, x)[0], state))
_, _, in_loop = compiled(lambda: loop(state))
one, jitted, _ = compiled(lambda: jax.jit(svi.init)(key, x))
close = jax.tree.map(lambda a, b: np.allclose(a, b, rtol=1e-5), *map(svi.get_params, (state, one)))
print("init: more than 40 programs:", programs > 40, "; longer than the loop:", in_init > in_loop)
print("under jit:", jitted, "; the same parameters:", all(jax.tree.leaves(close)))
PROGRAM

expected="init: more than 40 programs: True ; longer than the loop: True
under jit: 1 ; the same parameters: True"
seen=$("$folder/venv/bin/python" "$folder/program.py")
echo "$seen"
if [ "$seen" != "$expected" ]; then
    echo "This has changed; it was:" >&2
    echo "$expected" >&2
    exit 1
fi
