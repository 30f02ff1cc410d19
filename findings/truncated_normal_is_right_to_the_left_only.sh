#!/usr/bin/env bash
# NumPyro 0.22.0: the density of a TruncatedNormal between two bounds is wrong above the mean, right below it.
#
# The comment in `log_prob` promises the stable form for bounds above the mean, by the tails mirrored to the left.
# But a normal has a `log_cdf`, and where there is one, it is taken at the bounds as they are: two probabilities of
# nearly 1 are subtracted. The mirror image of the same distribution is right. From 5 standard deviations on the
# density is wrong in single precision (by 0.04, and its slope by a factor of four), soon infinite; from 8 in double.
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
from scipy.special import ndtr
from scipy.stats import norm


def told(low, high, x, density, slope):
    """Of the log density at x and its derivative by the mean, at the mean 0."""
    log_prob = lambda mean: dist.TruncatedNormal(mean, 1.0, low=low, high=high).log_prob(x)
    seen = jax.value_and_grad(log_prob)(0.0)
    near = [abs(value - exact) < 0.01 for value, exact in zip(seen, (density, slope))]
    of_density = "infinite" if seen[0] == math.inf else "right" if near[0] else "wrong"
    return f"{low:.0f} to {high:.0f}: density {of_density}, slope {'right' if near[1] else 'wrong'}"


for double, lows in ((False, (4.0, 5.0, 6.0)), (True, (7.0, 8.0, 9.0))):
    with jax.enable_x64(double):
        for low in lows:
            high, x = low + 1, low + 0.25
            between = ndtr(-low) - ndtr(-high)
            density = norm.logpdf(x) - math.log(between)
            slope = x - (norm.pdf(low) - norm.pdf(high)) / between
            print("double" if double else "single", told(low, high, x, density, slope))
            print("       mirrored", told(-high, -low, -x, density, -slope))
PROGRAM

expected="single 4 to 5: density right, slope right
       mirrored -5 to -4: density right, slope right
single 5 to 6: density wrong, slope wrong
       mirrored -6 to -5: density right, slope right
single 6 to 7: density infinite, slope wrong
       mirrored -7 to -6: density right, slope right
double 7 to 8: density right, slope right
       mirrored -8 to -7: density right, slope right
double 8 to 9: density wrong, slope wrong
       mirrored -9 to -8: density right, slope right
double 9 to 10: density infinite, slope wrong
       mirrored -10 to -9: density right, slope right"
seen=$(JAX_PLATFORMS=cpu "$folder/venv/bin/python" -W ignore "$folder/program.py")
echo "$seen"
if [ "$seen" != "$expected" ]; then
    echo "This has changed; it was:" >&2
    echo "$expected" >&2
    exit 1
fi
