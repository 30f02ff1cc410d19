#!/usr/bin/env bash
# Pyro 1.9.2, NumPyro 0.22.0: two optimisers called ClippedAdam, and what Pyro's is not.
#
# Pyro's adds ε to the root of the running mean of squares before its bias is corrected. Early in training that root is
# thirty times too small, so for gradients of 1e-7 a step is a quarter of Adam's. NumPyro's ClippedAdam, and
# pyro.optim.Adam, which is torch's, correct first. What Pyro documents as the norm that gradients are clipped to bounds
# each entry: a clipped gradient has another direction. And its `lrd` lowers the rate in each call of `step`, also in
# one in which no parameter has a gradient.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    numpy==2.4.6 torch==2.13.0 pyro-ppl==1.9.2 jax==0.10.2 numpyro==0.22.0

cat > "$folder/program.py" <<'PROGRAM'
import jax.numpy as jnp
import numpyro
import torch
from pyro.optim.clipped_adam import ClippedAdam


def first_step(optimizer, gradient):
    """How far a parameter at 0 goes at rate 1."""
    weight = torch.nn.Parameter(torch.zeros(()))
    weight.grad = torch.tensor(gradient)
    optimizer([weight], lr=1.0).step()
    return -weight.item()


def first_step_of_numpyro(gradient):
    optimizer = numpyro.optim.ClippedAdam(1.0)
    state = optimizer.update(jnp.array(gradient), optimizer.init(jnp.zeros(())))
    return -float(optimizer.get_params(state))


for gradient in (1e-3, 1e-7):
    pyros, torchs = (first_step(optimizer, gradient) for optimizer in (ClippedAdam, torch.optim.Adam))
    print(f"gradient {gradient:g}: Pyro's ClippedAdam {pyros:.2f}, torch's Adam {torchs:.2f}, "
          f"NumPyro's ClippedAdam {first_step_of_numpyro(gradient):.2f}")

weight = torch.nn.Parameter(torch.zeros(2))
weight.grad = torch.tensor([30.0, 4.0])
optimizer = ClippedAdam([weight], lr=1.0, clip_norm=10.0, lrd=0.5)
optimizer.step()
print("a gradient of (30, 4) clipped to a norm of 10:", weight.grad.tolist())
weight.grad = None
optimizer.step()
print("the rate after a step with a gradient and one without:", optimizer.param_groups[0]["lr"])
PROGRAM

expected="gradient 0.001: Pyro's ClippedAdam 1.00, torch's Adam 1.00, NumPyro's ClippedAdam 1.00
gradient 1e-07: Pyro's ClippedAdam 0.24, torch's Adam 0.91, NumPyro's ClippedAdam 0.91
a gradient of (30, 4) clipped to a norm of 10: [10.0, 4.0]
the rate after a step with a gradient and one without: 0.25"
seen=$("$folder/venv/bin/python" -W ignore "$folder/program.py")
echo "$seen"
if [ "$seen" != "$expected" ]; then
    echo "This has changed; it was:" >&2
    echo "$expected" >&2
    exit 1
fi
