#!/usr/bin/env bash
# JAX 0.10.2: betaln in double precision has sixteen digits below 8 and seven from 8 on.
#
# Where an argument is 8 or more, a series in x = h / (1 + h), h the ratio of the arguments, stands for that in
# 1 / (1 + h). The error falls as arguments grow, and derivatives have a larger one. The densities of NumPyro's
# negative binomial by mean and of its beta-binomial have it.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    numpy==2.4.6 scipy==1.17.1 jax==0.10.2 jaxlib==0.10.2 numpyro==0.22.0

cat > "$folder/program.py" <<'PROGRAM'
import math

import jax
import numpyro.distributions as dist
from jax.scipy.special import betaln
from scipy.special import betaln as exact_betaln
from scipy.special import digamma
from scipy.stats import betabinom, nbinom

jax.config.update("jax_enable_x64", True)


def told(value, exact):
    error = abs(float(value) / exact - 1)
    return "exact" if error < 1e-13 else f"relative error 1e{math.floor(math.log10(error))}"


for b in (7.9, 8.0, 12.0, 50.0):
    slope = jax.grad(betaln, 0)(b, 3.0)
    print(f"betaln({b}, 3): {told(betaln(b, 3.0), exact_betaln(b, 3.0))}, "
          f"derivative: {told(slope, digamma(b) - digamma(b + 3))}")
for count in (4.0, 9.0):
    density = dist.NegativeBinomial2(6.0, 3.0).log_prob(count)
    print(f"negative binomial, count {count:.0f}: {told(density, nbinom.logpmf(count, 3, 3 / 9))}")
    density = dist.BetaBinomial(3.0, 5.0, 12).log_prob(count)
    print(f"beta-binomial, count {count:.0f} of 12: {told(density, betabinom.logpmf(count, 12, 3, 5))}")
PROGRAM

expected="betaln(7.9, 3): exact, derivative: exact
betaln(8.0, 3): relative error 1e-7, derivative: relative error 1e-6
betaln(12.0, 3): relative error 1e-8, derivative: relative error 1e-7
betaln(50.0, 3): relative error 1e-10, derivative: relative error 1e-9
negative binomial, count 4: exact
beta-binomial, count 4 of 12: relative error 1e-7
negative binomial, count 9: relative error 1e-7
beta-binomial, count 9 of 12: relative error 1e-8"
seen=$(JAX_PLATFORMS=cpu "$folder/venv/bin/python" -W ignore "$folder/program.py")
echo "$seen"
if [ "$seen" != "$expected" ]; then
    echo "This has changed; it was:" >&2
    echo "$expected" >&2
    exit 1
fi
