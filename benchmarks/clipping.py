"""What a step costs more where gradients far larger than usual are cut: `fit`, and `CompiledSVI(clip=5)`.

    python benchmarks/clipping.py [--sizes S M L] [--rounds 15] [--json FILE]

Both twins on the reference program with the auxiliary guide, replayed steps in Pyro and a compiled loop in
NumPyro, in single precision, with one thread. `fit` cuts the gradients of its encoder, `CompiledSVI` those of
all parameters, here on one mini-batch. Rounds of steps are taken in turns with rounds that cut nothing;
printed is the ratio of their times, with its 95 % interval. Below one there is nothing to pay.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from reporting import console, facts, print_facts, print_table, write_json

from twinplate.backends import load_backend
from twinplate.bench.timing import interleave, ratio
from twinplate.bench.workload import SIZES, Workload, make_workload
from twinplate.programs.config import TrainingConfig
from twinplate.training.state import TrainingState
from twinplate.training.step_size import CLIP

STEPS = {"S": 100, "M": 40, "L": 10}  # of a round; a chunk of `fit` has 100 at most
WAYS = {"without": None, "with": CLIP}


def pyro_steps(work: Workload, clip: float | None) -> Callable[[int], None]:
    """Takes as many steps as it is told, replayed."""
    import pyro
    import torch
    from pyro.infer import Trace_ELBO

    from pyro_impl import CompiledSVI, build

    torch.set_num_threads(1)
    state: Any = {"params": {}, "constraints": {}}
    with pyro.get_param_store().scope(state):
        pair = build(work.program, work.params, torch.float32)
        elbo = Trace_ELBO(max_plate_nesting=pair.max_plate_nesting)
        svi = CompiledSVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 1e-3}), elbo, clip=clip)
    batch = torch.as_tensor(work.x[: work.size.batch_size], dtype=torch.float32)

    def take(steps: int) -> None:
        with pyro.get_param_store().scope(state):
            for _ in range(steps):
                svi.step(batch, num_items=len(work.x))

    return take


def numpyro_steps(work: Workload, clip: float | None) -> Callable[[int], None]:
    """Takes as many steps as it is told, in one compiled loop."""
    import jax
    import jax.numpy as jnp
    from numpyro import optim
    from numpyro.infer import Trace_ELBO

    from numpyro_impl import CompiledSVI, build

    pair = build(work.program, work.params)
    svi = CompiledSVI(pair.model, pair.guide, optim.Adam(1e-3), Trace_ELBO(), clip=clip)
    batch = jnp.asarray(work.x[: work.size.batch_size], jnp.float32)
    items = len(work.x)
    state = svi.init(jax.random.key(0), batch, init_params=pair.params, num_items=items)

    def loop(state: Any, steps: int) -> Any:
        return jax.lax.fori_loop(
            0, steps, lambda _, s: svi.update(s, batch, num_items=items)[0], state
        )

    compiled = jax.jit(loop)

    def take(steps: int) -> None:
        nonlocal state
        state = jax.block_until_ready(compiled(state, steps))

    return take


def uncut(framework: str) -> Any:
    """While it is entered, a fit that begins cuts nothing; `fit` has no option for that."""
    if framework == "numpyro":
        return mock.patch(
            "numpyro_impl.training.loop.clip", lambda found, sizes, most: (found, sizes)
        )
    from pyro_impl.compiled.clipping import Clip

    class Uncut(Clip):
        def cut(self, leaves: Any, gradients: Any) -> Any:
            return gradients

    return mock.patch("pyro_impl.training.carry.Clip", Uncut)


def fit_steps(work: Workload, framework: str, clip: float | None) -> Callable[[int], None]:
    """Takes as many steps as it is told, as `fit` does."""
    many = 1_000_000  # steps: for a short run XLA does less
    config = TrainingConfig(many, work.size.batch_size, work.rate, device="cpu")
    state = TrainingState.start(work.params)
    with nullcontext() if clip else uncut(framework):
        trainer = load_backend(framework).Trainer(work.x, work.program, config, state=state)
        trainer.run(work.chunk(20))  # compiled, recorded
    return lambda steps: trainer.run(work.chunk(steps))


MAKERS = {
    ("fit", "pyro"): lambda work, clip: fit_steps(work, "pyro", clip),
    ("fit", "numpyro"): lambda work, clip: fit_steps(work, "numpyro", clip),
    ("CompiledSVI", "pyro"): pyro_steps,
    ("CompiledSVI", "numpyro"): numpyro_steps,
}


def measure(way: str, framework: str, size: str, rounds: int) -> dict[str, Any]:
    """One row: the ratio of times with and without, and both medians in milliseconds a step."""
    work, steps = make_workload(SIZES[size]), STEPS[size]
    takes = {name: MAKERS[way, framework](work, clip) for name, clip in WAYS.items()}
    for take in takes.values():
        take(steps)  # compiled, recorded, compared
    seconds = interleave(
        {n: lambda t=take: t(steps) for n, take in takes.items()}, rounds, np.random.default_rng(0)
    )
    found = ratio(seconds["with"], seconds["without"])
    medians = {name: float(np.median(times)) / steps * 1e3 for name, times in seconds.items()}
    return {"way": way, "framework": framework, "size": size, **vars(found), "ms": medians}


def main(arguments: list[str] | None = None) -> None:
    """Measure and print every row; with `--json` write them too."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=list(STEPS), choices=list(STEPS))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    known = facts(training="Adam, float32", rounds=options.rounds)
    print_facts(known)
    rows = []
    for way, framework in MAKERS:
        for size in options.sizes:
            rows.append(measure(way, framework, size, options.rounds))
            console.print(rows[-1])
            write_json(options.json, {"facts": known, "rows": rows})
    cells = [
        [
            r["way"],
            r["framework"],
            r["size"],
            f"{r['median']:.3f} ({r['low']:.3f} to {r['high']:.3f})",
        ]
        for r in rows
    ]
    print_table(
        "Time of a step with the clip ÷ without", ["way", "framework", "size", "ratio"], cells
    )


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
