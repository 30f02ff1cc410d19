"""Whether training is right on an accelerator: a check for each path, against the CPU or the framework.

    python benchmarks/accelerator_paths.py [--device gpu] [--json FILE]

A row is the largest difference that was found, and the largest that is allowed; 0 is equality to the bit. All
of it takes a minute or two. The exit code is 1 where a check fails.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from reporting import console, facts, print_facts, print_table, write_json

from twinplate.backends import load_backend
from twinplate.bench.workload import Size, Workload, make_workload
from twinplate.programs.config import TrainingConfig
from twinplate.training.state import Array, Fit

SIZE = Size(num_items=512, num_features=16, num_components=3, batch_size=64, hidden_width=32)
STEPS = 50
DOUBLE, SINGLE = 1e-9, 1e-4  # relative, of a loss, between devices
ROUNDING = 1e-5  # of single precision on one device

Check = Callable[[Workload, str], float]


def apart(first: Any, second: Any) -> float:
    """The largest relative difference of two arrays of losses, or of anything."""
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    return float(np.max(np.abs(a - b) / np.maximum(np.abs(b), 1e-300)))


def fit(framework: str, work: Workload, device: str, precision: str, **ways: Any) -> Fit:
    """Some steps of the reference program."""
    training = TrainingConfig(STEPS, SIZE.batch_size, device=device, precision=precision)
    found: Fit = load_backend(framework).fit(work.x, work.program, training, **ways)
    return found


def as_on_the_cpu(framework: str, work: Workload, device: str, precision: str) -> float:
    """With the same base noise; in double precision on the CPU."""
    there = fit(framework, work, device, precision, matched=True)
    return apart(there.losses, fit(framework, work, "cpu", "float64", matched=True).losses)


def going_on(framework: str, work: Workload, device: str) -> float:
    """Stopped after one chunk of steps, and gone on with."""
    backend = load_backend(framework)
    training = TrainingConfig(3 * STEPS, SIZE.batch_size, device=device)
    whole = backend.fit(work.x, work.program, training)
    trainer = backend.Trainer(work.x, work.program, training)
    trainer.run(next(trainer.plan()))
    state = trainer.state
    rest = backend.fit(work.x, work.program, training, state=state)
    return apart(rest.losses, whole.losses[state.step :])


def side_by_side(framework: str, work: Workload, device: str) -> float:
    """`fit_many` beside `fit`."""
    training = TrainingConfig(STEPS, SIZE.batch_size, device=device, precision="float64")
    backend = load_backend(framework)
    many = backend.fit_many(work.x, work.program, training, seeds=(0, 1))
    one = backend.fit(work.x, work.program, replace(training, seed=1))
    return apart(many.losses[1], one.losses)


def replayed(work: Workload, device: str) -> float:
    """Pyro's steps, replayed and as Pyro takes them."""
    eager = fit("pyro", work, device, "float32", compiled=False)
    return apart(fit("pyro", work, device, "float32").losses, eager.losses)


def machine_code(work: Workload, device: str) -> float:
    """Pyro's steps as machine code, on a GPU a CUDA graph."""
    eager = fit("pyro", work, device, "float32", compiled=False)
    return apart(fit("pyro", work, device, "float32", machine_code=True).losses, eager.losses)


def pyro_program(mixed: bool, work: Workload, device: str) -> float:
    """A user's model and automatic guide, by `CompiledSVI` and by Pyro's own SVI.

    mixed: numbers of the model stay on the CPU, as torch allows for tensors without dims.
    """
    import pyro
    import pyro.distributions as dist
    import torch
    from pyro.infer import SVI, Trace_ELBO
    from pyro.infer.autoguide import AutoNormal

    from pyro_impl import CompiledSVI
    from pyro_impl.device import find_device, to_tensor

    where = find_device(device)
    x = to_tensor(work.x[:, 0], torch.float32, where)
    one = torch.tensor(1.0, device="cpu" if mixed else where)

    def model(x: torch.Tensor) -> None:
        mean = pyro.sample("mean", dist.Normal(torch.zeros((), device=where), 3.0 * one))
        scale = pyro.sample("scale", dist.LogNormal(torch.zeros((), device=where), one))
        with pyro.plate("items", len(x)):
            pyro.sample("x", dist.Normal(mean, scale), obs=x)

    def losses(kind: Any) -> Array:
        pyro.clear_param_store()
        pyro.set_rng_seed(0)
        svi = kind(model, AutoNormal(model), pyro.optim.Adam({"lr": 0.01}), Trace_ELBO())
        return np.array([svi.step(x) for _ in range(STEPS)])

    return apart(losses(CompiledSVI), losses(SVI))


def numpyro_program(work: Workload, device: str) -> float:
    """A user's model and automatic guide, by `CompiledSVI` and by NumPyro's own SVI."""
    import jax
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist
    from numpyro.infer import SVI, Trace_ELBO
    from numpyro.infer.autoguide import AutoNormal

    from numpyro_impl import CompiledSVI
    from numpyro_impl.device import find_device

    def model(x: jax.Array) -> None:
        mean = numpyro.sample("mean", dist.Normal(0.0, 3.0))
        scale = numpyro.sample("scale", dist.LogNormal(0.0, 1.0))
        with numpyro.plate("items", len(x)):
            numpyro.sample("x", dist.Normal(mean, scale), obs=x)

    with jax.default_device(find_device(device)):
        x, key = jnp.asarray(work.x[:, 0], jnp.float32), jax.random.key(0)

        def losses(kind: Any, how: str, given: Any) -> Any:
            svi = kind(model, AutoNormal(model), numpyro.optim.Adam(0.01), Trace_ELBO())
            return getattr(svi, how)(key, *given, progress_bar=False).losses

        theirs = losses(SVI, "run", (STEPS, x))
        batches = [np.asarray(x)] * STEPS
        by_batches = apart(losses(CompiledSVI, "run_batches", (batches,)), theirs)
        return max(apart(losses(CompiledSVI, "run", (STEPS, x)), theirs), by_batches)


BOTH: dict[str, tuple[Callable[..., float], float]] = {
    "double precision, as on the CPU": (partial(as_on_the_cpu, precision="float64"), DOUBLE),
    "single precision, as on the CPU": (partial(as_on_the_cpu, precision="float32"), SINGLE),
    "stopped and gone on with": (going_on, 0.0),
    "fit_many and fit": (side_by_side, DOUBLE),
}
CHECKS: dict[str, tuple[Check, float]] = {
    **{
        f"{framework}: {name}": (partial(check, framework), allowed)
        for framework in ("pyro", "numpyro")
        for name, (check, allowed) in BOTH.items()
    },
    "pyro: replayed and eager": (replayed, 0.0),
    "pyro: machine code and eager": (machine_code, SINGLE),
    "pyro: CompiledSVI and SVI": (partial(pyro_program, False), 0.0),
    "pyro: CompiledSVI and SVI, tensors on two devices": (partial(pyro_program, True), 0.0),
    "numpyro: CompiledSVI and SVI": (numpyro_program, ROUNDING),
}


def present() -> str:
    """ "gpu" where both frameworks see one, else "cpu"."""
    import jax
    import torch

    return "gpu" if torch.cuda.is_available() and jax.default_backend() == "gpu" else "cpu"


def main(arguments: list[str] | None = None) -> None:
    """Take every check, print and write its row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "gpu"))
    parser.add_argument("--checks", nargs="+", choices=list(CHECKS), default=list(CHECKS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    device = options.device or present()
    known = facts(device=device, steps=STEPS)
    print_facts(known)
    work, rows = make_workload(SIZE), []
    for name in options.checks:
        check, allowed = CHECKS[name]
        row: dict[str, Any] = {"check": name, "device": device, "allowed": allowed}
        started = time.monotonic()
        try:
            row["found"] = check(work, device)
        except Exception:  # the other checks have something to say too
            traceback.print_exc()
            row |= {"found": None, "error": traceback.format_exc().splitlines()[-1]}
        right = row["found"] is not None and row["found"] <= allowed
        rows.append(row | {"right": right, "seconds": time.monotonic() - started})
        console.print(rows[-1])
        write_json(options.json, {"facts": known, "rows": rows})
    cells = [
        [r["check"], _shown(r["found"]), f"{r['allowed']:.0e}", "yes" if r["right"] else "NO"]
        for r in rows
    ]
    print_table(f"Training on {device}", ["check", "found", "allowed", "right"], cells)
    sys.exit(not all(row["right"] for row in rows))


def _shown(value: float | None) -> str:
    return "failed" if value is None else f"{value:.1e}"


if __name__ == "__main__":
    main()
