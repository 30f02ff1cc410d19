#!/usr/bin/env bash
# torch 2.13.0: the first optimiser that is made imports torch's compiler, in a program that compiles nothing.
#
# `import torch` leaves torch._dynamo and SymPy alone. The constructor of any optimiser imports both, since a method
# that it calls is marked "not to be compiled" and the mark is resolved when it is first called. That is as long as
# importing torch itself, paid by every short training script, test and worker process.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 torch==2.13.0

cat > "$folder/program.py" <<'PROGRAM'
import sys
import time

began = time.process_time()
import torch

imported = time.process_time() - began
weight = torch.nn.Parameter(torch.zeros(2))
(weight.sum() ** 2).backward()
late = "torch._dynamo", "sympy"
print("after import torch and backward:", *(name in sys.modules for name in late))
began = time.process_time()
torch.optim.SGD([weight], lr=0.1)
made = time.process_time() - began
print("after the first optimiser:", *(name in sys.modules for name in late))
began = time.process_time()
torch.optim.SGD([weight], lr=0.1)
again = time.process_time() - began
print("more than a third of the time of import torch:", made > imported / 3)
print("a second optimiser takes a hundredth of that or less:", again < made / 100)
PROGRAM

expected="after import torch and backward: False False
after the first optimiser: True True
more than a third of the time of import torch: True
a second optimiser takes a hundredth of that or less: True"
seen=$("$folder/venv/bin/python" "$folder/program.py")
echo "$seen"
if [ "$seen" != "$expected" ]; then
    echo "This has changed; it was:" >&2
    echo "$expected" >&2
    exit 1
fi
