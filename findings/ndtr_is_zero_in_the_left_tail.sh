#!/usr/bin/env bash
# torch 2.13.0: the normal distribution function is 0 left of -8.3, in double precision too.
#
# `special.ndtr`, and with it `Normal.cdf`, is computed as a sum of 1 and a number near -1: at -7 two parts in a
# million are lost, at -9 everything (1.1e-19 is representable, and so is 7.6e-24 at -10). Its logarithm, as in a
# truncated or censored likelihood, is then minus infinity; `special.log_ndtr` is right.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    numpy==2.4.6 scipy==1.17.1 torch==2.13.0

cat > "$folder/program.py" <<'PROGRAM'
import math

import torch
from scipy.special import log_ndtr, ndtr

for x in (-5.0, -7.0, -9.0):
    at = torch.tensor(x, dtype=torch.float64)
    error = abs(torch.special.ndtr(at).item() / ndtr(x) - 1)
    normal = torch.distributions.Normal(torch.zeros((), dtype=torch.float64), 1.0)
    same = normal.cdf(at).item() == torch.special.ndtr(at).item()
    print(f"{x:.0f}: relative error 1e{math.floor(math.log10(error))}, Normal.cdf the same number: {same}")
at = torch.tensor(-9.0, dtype=torch.float64)
print("log of ndtr at -9:", torch.special.ndtr(at).log().item())
print(f"log_ndtr at -9: {torch.special.log_ndtr(at).item():.3f}, SciPy {log_ndtr(-9.0):.3f}")
PROGRAM

expected="-5: relative error 1e-11, Normal.cdf the same number: True
-7: relative error 1e-6, Normal.cdf the same number: True
-9: relative error 1e0, Normal.cdf the same number: True
log of ndtr at -9: -inf
log_ndtr at -9: -43.628, SciPy -43.628"
seen=$("$folder/venv/bin/python" -W ignore "$folder/program.py")
echo "$seen"
if [ "$seen" != "$expected" ]; then
    echo "This has changed; it was:" >&2
    echo "$expected" >&2
    exit 1
fi
