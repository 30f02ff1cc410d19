"""CompiledSVI in two processes that train together, by jax.distributed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
import jax
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
jax.config.update("jax_enable_x64", True)
import numpy as np
import numpyro
from numpyro_cases import data, subsampling
from numpyro_impl import CompiledSVI

x, y = map(np.asarray, data())

def losses(devices, *arguments):
    svi = CompiledSVI(*program[:2], numpyro.optim.Adam(0.01), program[2], devices=devices)
    return svi.run(jax.random.key(0), 120, *arguments, progress_bar=False).losses

program = subsampling()
one, two = losses(None, x, y), losses(jax.devices(), x, y)
np.testing.assert_allclose(two, one, rtol=1e-12)
"""
OF_EACH = """
import sys
import jax
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
jax.config.update("jax_enable_x64", True)
import numpy as np
import numpyro
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from numpyro.infer import Trace_ELBO
from numpyro.infer.autoguide import AutoNormal
from numpyro_cases import data, regression
from numpyro_impl import CompiledSVI

arrays = tuple(map(np.asarray, data()))
mesh = Mesh(np.array(jax.devices()), ("rows",), axis_types=(AxisType.Auto,))
spread = NamedSharding(mesh, PartitionSpec("rows"))

def whole():
    for first in range(40):
        rows = (np.arange(8) + first) % 12
        yield tuple(array[rows] for array in arrays)

def own():
    "The rows of this process alone: of eight the first four, or the last."
    mine = slice(4 * jax.process_index(), 4 * jax.process_index() + 4)
    for batch in whole():
        parts = [jax.make_array_from_process_local_data(spread, array[mine]) for array in batch]
        assert [part.shape[0] for part in parts] == [8, 8]
        yield tuple(parts)

def run(batches, devices):
    optim = numpyro.optim.Adam(0.01)
    svi = CompiledSVI(regression, AutoNormal(regression), optim, Trace_ELBO(), devices=devices)
    return svi.run_batches(jax.random.key(0), batches, progress_bar=False).losses

np.testing.assert_allclose(run(own(), jax.devices()), run(whole(), None), rtol=1e-12)
"""


def said(hash_seeds: tuple[str, str], script: str = SCRIPT) -> list[str]:
    """What each of two processes says on stderr."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    path = os.pathsep.join(map(str, (ROOT, Path(__file__).parent)))
    both = [
        subprocess.Popen(
            [sys.executable, "-c", script, address, str(rank)],
            env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, seed in enumerate(hash_seeds)
    ]
    try:
        return [process.communicate()[1] for process in both]
    finally:
        for process in both:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_two_processes_make_the_losses_of_one_device():
    assert not any("Error" in text for text in said(("0", "0")))


@pytest.mark.slow
def test_mini_batches_of_the_rows_of_each_process():
    assert not any("Error" in text for text in said(("0", "0"), OF_EACH))


@pytest.mark.slow
def test_the_order_of_sets_makes_no_other_program():
    """NumPyro adds up sites in the order of a set of names, which these seeds give differently."""
    assert not any("Error" in text for text in said(("1", "2")))


@pytest.mark.slow
def test_processes_that_trace_other_programs_are_told():
    of_each_its_own = SCRIPT.replace("Adam(0.01)", "Adam(0.01 + jax.process_index())")
    found = said(("0", "0"), of_each_its_own)
    assert all("rank 1 has traced another program" in text for text in found), found
