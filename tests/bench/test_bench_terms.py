"""What `twinplate bench` holds equal: threads, precision of products, validation, no compiled code kept."""

from __future__ import annotations

import os
import subprocess
import sys

import jax
import numpyro
import pyro
import pytest
import torch

from twinplate.bench.terms import equal_terms, load_bench_backends


def terms():
    """As they are now: torch's and JAX's."""
    validated = {n: v for n, v in pyro.settings.get().items() if n.startswith("validate")}
    return {
        "threads": torch.get_num_threads(),
        "products": (
            torch.get_float32_matmul_precision(),
            jax.config.jax_default_matmul_precision,
        ),
        "validated": (*validated.values(), numpyro.distributions.Distribution._validate_args),
        "kept": (
            not torch.compiler.config.force_disable_caches,
            jax.config.jax_enable_compilation_cache,
        ),
    }


@pytest.mark.parametrize("threads", [1, 2])
def test_the_terms_are_equal_inside_and_as_before_outside(monkeypatch, threads):
    monkeypatch.setenv("NPROC", "")  # which is set for good otherwise
    monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
    backends = load_bench_backends()
    assert os.environ["NPROC"] == str(threads)
    precision = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with pyro.validation_enabled(True), numpyro.validation_enabled(True):
            before = terms()
            assert set(before["validated"]) == {True}
            with equal_terms(backends):
                inside = terms()
            assert terms() == before
    finally:
        torch.set_float32_matmul_precision(precision)
    assert inside["threads"] == threads
    assert inside["products"] == ("highest", "highest")
    assert set(inside["validated"]) == {False} and len(inside["validated"]) > 2
    assert inside["kept"] == (False, False)


COUNT = """
from pathlib import Path
from twinplate.bench.terms import equal_terms, load_bench_backends
backends = load_bench_backends()
import jax
jax.block_until_ready(jax.numpy.ones((600, 600)) @ jax.numpy.ones((600, 600)))
names = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
print(sum("XLAEigen" in name for name in names))
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="threads are not files here")
@pytest.mark.parametrize("threads", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_xla_has_as_many_threads_as_torch(threads):
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "NPROC": "7"}
    done = subprocess.run(
        [sys.executable, "-c", COUNT], capture_output=True, text=True, check=True, env=environment
    )
    assert int(done.stdout) == threads
