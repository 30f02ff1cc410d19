"""What a process pays before it trains at full speed: the first one, and one with other data after it.

    python benchmarks/compiling.py [--framework numpyro pyro] [--json FILE]

Seconds of CPU of 200 steps at size S by `fit` and by `CompiledSVI`, after the imports, each in a process of
its own with Python's own hash seed: with an empty cache, then with what that left and data drawn anew. Steps
themselves are a small part; in Pyro nothing is compiled, and a recorded step is what there is to pay.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from reporting import facts, print_facts, print_table, write_json

from twinplate import ProgramConfig, TrainingConfig, initial_params, make_program
from twinplate.backends import load_backend

STEPS, ITEMS, BATCH = 200, 5_000, 256
FEATURES, COMPONENTS = 64, 8
WAYS = ("fit", "CompiledSVI")


def seconds(framework: str, way: str, seed: int) -> float:
    """Of CPU, in this process."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(ITEMS, COMPONENTS)) @ rng.normal(size=(COMPONENTS, FEATURES))
    x += rng.normal(size=x.shape)
    program = make_program(x, ProgramConfig(FEATURES, COMPONENTS))
    train = fit if way == "fit" else {"numpyro": numpyro_svi, "pyro": pyro_svi}[framework]
    backend = load_backend(framework)
    _ = backend.fit, backend.CompiledSVI, backend.build  # imported when they are asked for
    started = time.process_time()
    train(backend, x, program)
    return time.process_time() - started


def fit(backend: Any, x: np.ndarray, program: Any) -> None:
    """As users call it."""
    backend.fit(x, program, TrainingConfig(STEPS, BATCH, device="cpu"))


def numpyro_svi(backend: Any, x: np.ndarray, program: Any) -> None:
    """One mini-batch, in NumPyro."""
    import jax
    import jax.numpy as jnp
    from numpyro import optim
    from numpyro.infer import Trace_ELBO

    pair = backend.build(program, initial_params(program, 0))
    svi = backend.CompiledSVI(pair.model, pair.guide, optim.Adam(1e-3), Trace_ELBO())
    batch = jnp.asarray(x[:BATCH], jnp.float32)
    svi.run(jax.random.key(0), STEPS, batch, num_items=ITEMS, progress_bar=False)


def pyro_svi(backend: Any, x: np.ndarray, program: Any) -> None:
    """One mini-batch, in Pyro."""
    import pyro
    import torch
    from pyro.infer import Trace_ELBO

    pair = backend.build(program, initial_params(program, 0), torch.float32)
    elbo = Trace_ELBO(max_plate_nesting=pair.max_plate_nesting)
    svi = backend.CompiledSVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 1e-3}), elbo)
    batch = torch.as_tensor(x[:BATCH], dtype=torch.float32)
    for _ in range(STEPS):
        svi.step(batch, num_items=ITEMS)


def both_times(framework: str, way: str) -> dict[str, Any]:
    """One row: with an empty cache, and with the one that this left."""
    row: dict[str, Any] = {"framework": framework, "way": way}
    with tempfile.TemporaryDirectory(prefix="xla-") as folder:
        environment = {**os.environ, "XDG_CACHE_HOME": folder, "OMP_NUM_THREADS": "1"}
        for name in ("JAX_COMPILATION_CACHE_DIR", "PYTHONHASHSEED"):
            environment.pop(name, None)
        for seed, which in enumerate(("first", "other data")):
            command = [sys.executable, __file__, "--once", framework, way, str(seed)]
            done = subprocess.run(
                command, capture_output=True, text=True, check=True, env=environment
            )
            row[which] = json.loads(done.stdout)
    return row


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--framework", nargs="+", default=["numpyro", "pyro"])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--once", nargs=3, help=argparse.SUPPRESS)  # in the child
    options = parser.parse_args(arguments)
    if options.once:
        framework, way, seed = options.once
        print(json.dumps(seconds(framework, way, int(seed))))
        return
    known = facts(steps=STEPS, items=ITEMS, batch=BATCH)
    print_facts(known)
    rows = [both_times(framework, way) for framework in options.framework for way in WAYS]
    cells = [
        [r["framework"], r["way"], f"{r['first']:.1f}", f"{r['other data']:.1f}"] for r in rows
    ]
    print_table("Seconds of CPU", ["framework", "way", "first", "other data"], cells)
    write_json(options.json, {"facts": known, "rows": rows})


if __name__ == "__main__":
    main()
