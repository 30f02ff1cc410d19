#!/usr/bin/env bash
# JAX 0.10.2: a function that uses a NumPy array from outside cannot be compiled in single and in double precision.
#
# After it has run under jit in one precision, it fails to lower under jit in the other: operands are said to have
# incompatible types. A new jit of the same function does not help, since what is remembered is the function's trace
# and the array. Where the array is an argument, or is copied inside, the function works in both.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 jax==0.10.2

cat > "$folder/program.py" <<'PROGRAM'
import jax
import numpy as np

x = np.ones(2, np.float32)


def outcome(function):
    try:
        return str(function(x).dtype)
    except ValueError as error:
        return str(error).splitlines()[0]


for first in (False, True):
    scales = np.array([1.0, 2.0])

    def scaled(x):
        return x * scales

    def scaled_by_a_copy(x):
        return x * scales.copy()

    for function in (scaled, scaled_by_a_copy):
        with jax.enable_x64(first):
            print(function.__name__, outcome(jax.jit(function)), end=", then ")
        with jax.enable_x64(not first):
            print(outcome(jax.jit(function)))
PROGRAM

expected="scaled float32, then Cannot lower jaxpr with verifier errors:
scaled_by_a_copy float32, then float64
scaled float64, then Cannot lower jaxpr with verifier errors:
scaled_by_a_copy float64, then float32"
seen=$("$folder/venv/bin/python" "$folder/program.py")
echo "$seen"
if [ "$seen" != "$expected" ]; then
    echo "This has changed; it was:" >&2
    echo "$expected" >&2
    exit 1
fi
