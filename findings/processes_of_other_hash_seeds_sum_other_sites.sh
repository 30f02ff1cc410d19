#!/usr/bin/env bash
# NumPyro 0.22.0 with JAX 0.10.2: two processes of jax.distributed take wrong steps of SVI, and nothing is raised.
#
# The ELBO adds up its sites over a set of their names. Python hashes names with a seed of each process's own, so
# two processes may add them up in another order, and so trace other programs. Their all-reduces then pair the
# sums of one site with those of another. With PYTHONHASHSEED set alike in all processes the losses are those of
# one process. By default the seeds are random: now right, now wrong.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    numpy==2.4.6 jax==0.10.2 jaxlib==0.10.2 numpyro==0.22.0

cat > "$folder/program.py" <<'PROGRAM'
import sys

import jax

rank, count, port = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
if count > 1:
    jax.distributed.initialize(f"localhost:{port}", count, rank)
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from numpyro.infer import SVI, Trace_ELBO
from numpyro.infer.autoguide import AutoNormal

mesh = jax.make_mesh((count,), ("items",), axis_types=(AxisType.Auto,))
spread = NamedSharding(mesh, PartitionSpec("items"))
x = np.linspace(-1.0, 1.0, 40, dtype=np.float32)
mine = slice(40 // count * rank, 40 // count * (rank + 1))
data = [jax.make_array_from_process_local_data(spread, v[mine], (40,)) for v in (x, 2 * x + 0.3)]


def model(x, y):
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
    shift = numpyro.sample("shift", dist.Normal(0.0, 1.0))
    with numpyro.plate("items", 40):
        level = numpyro.sample("level", dist.Normal(shift, 1.0))
        numpyro.sample("y", dist.Normal(level + slope * x, 0.5), obs=y)


svi = SVI(model, AutoNormal(model), numpyro.optim.Adam(0.01), Trace_ELBO())
state = jax.jit(svi.init)(jax.random.key(0), *data)
update = jax.jit(svi.update)
for _ in range(20):
    state, loss = update(state, *data)
if rank == 0:
    print(float(loss))
PROGRAM

free_port() { "$folder/venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("localhost", 0)); print(s.getsockname()[1])'; }
loss_of() { JAX_PLATFORMS=cpu PYTHONHASHSEED=$1 "$folder/venv/bin/python" "$folder/program.py" "${@:2}" 2> "$folder/said" | grep -v Gloo; }

one=$(loss_of 1 0 1 0)
judge() { # the hash seeds of two processes
    local port loss
    port=$(free_port)
    loss_of "$2" 1 2 "$port" > /dev/null &
    loss=$(loss_of "$1" 0 2 "$port")
    wait
    "$folder/venv/bin/python" - "$one" "$loss" <<'JUDGE'
import sys

one, two = map(float, sys.argv[1:])
apart = abs(two / one - 1)
print("as in one process" if apart < 1e-4 else "another loss, by more than a tenth" if apart > 0.1 else apart)
JUDGE
}

expected="hash seeds 1 and 1: as in one process
hash seeds 1 and 3: another loss, by more than a tenth"
seen="hash seeds 1 and 1: $(judge 1 1)
hash seeds 1 and 3: $(judge 1 3)"
echo "$seen"
if [ "$seen" != "$expected" ]; then
    echo "This has changed; it was:" >&2
    echo "$expected" >&2
    exit 1
fi
