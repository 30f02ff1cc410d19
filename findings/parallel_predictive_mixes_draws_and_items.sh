#!/usr/bin/env bash
# Pyro 1.9.2: Predictive(parallel=True) gives the draws of a vector to the items, one each.
#
# Draws of a latent vector, (draws, 3) as `MCMC.get_samples` returns them, are reshaped as though their last dim
# were a plate's: no dim is left for the model's plate. With as many draws as items the i-th item is predicted with
# the i-th draw alone, and the spread of the predictions is that of the noise; no error, no warning. With any
# other number broadcasting fails. Draws of a number, and `parallel=False`, are right.
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
from pyro.infer import Predictive

pyro.set_rng_seed(0)
x = torch.ones(1000, 3)


def regression(x):
    weights = pyro.sample("weights", dist.Normal(0.0, 1.0).expand([3]).to_event(1))
    with pyro.plate("items", len(x)):
        pyro.sample("y", dist.Normal((x * weights).sum(-1), 0.1))


for number in (1000, 500):
    draws = {"weights": torch.randn(number, 3)}  # the sum of three has standard deviation 1.7
    for parallel in (False, True):
        try:
            y = Predictive(regression, posterior_samples=draws, parallel=parallel)(x)["y"]
            told = f"{tuple(y.shape)}, spread of an item {y.std(0).mean():.1f}"
        except RuntimeError as error:
            told = type(error).__name__
        print(f"{number} draws, 1000 items, parallel={parallel}: {told}")
PROGRAM

expected="1000 draws, 1000 items, parallel=False: (1000, 1000), spread of an item 1.8
1000 draws, 1000 items, parallel=True: (1000, 1000), spread of an item 0.1
500 draws, 1000 items, parallel=False: (500, 1000), spread of an item 1.8
500 draws, 1000 items, parallel=True: RuntimeError"
seen=$("$folder/venv/bin/python" -W ignore "$folder/program.py")
echo "$seen"
if [ "$seen" != "$expected" ]; then
    echo "This has changed; it was:" >&2
    echo "$expected" >&2
    exit 1
fi
