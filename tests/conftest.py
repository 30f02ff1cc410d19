"""The two twins behind one small interface, so that one test body serves both; fixtures of several files.

Frameworks are imported by the fixtures, not here: collecting the other tests needs neither.
"""

from __future__ import annotations

import getpass
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from twins import TWINS
from worker_memory import *  # noqa: F403, its fixtures and hooks are those of all tests

from equivalence_tests.random_numbers import same_random_numbers
from twinplate import LinearGaussian, ProgramConfig, initial_params, make_program

__all__ = ["same_random_numbers"]  # of every test here

# Machine code of steps is kept where torch keeps its own, for all runs, and not in the user's cache.
_OF_TORCH = Path(tempfile.gettempdir(), f"torchinductor_{getpass.getuser()}")
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(_OF_TORCH))

# Helpers that assert: a failure there shows both values, as in a test.
pytest.register_assert_rewrite(
    "compiled_runs", "data_files", "fit_cases", "numpyro_runs", "page_checks"
)


@pytest.fixture(params=sorted(TWINS))
def twin(request):
    """One twin after the other, in double precision."""
    twin = TWINS[request.param]()
    with twin.using("float64"):
        yield twin


@pytest.fixture
def problem():
    """`problem(**config) -> (x, program, params)`: a small correlated one with every number random.

    Parameters are perturbed, so that none of them is zero and a mistake in any of them shows.
    """

    def make(num_items=7, num_features=4, num_components=3, missing=0.0, seed=0, **config):
        rng = np.random.default_rng(seed)
        generative = LinearGaussian(
            rng.normal(size=(num_features, num_components)),
            rng.normal(size=num_features),
            rng.uniform(0.4, 1.2, num_features),
            rng.normal(size=num_components),
            rng.uniform(0.5, 1.5, num_components),
        )
        x, _ = generative.simulate(num_items, rng)
        x[rng.random(x.shape) < missing] = np.nan
        config = ProgramConfig(num_features, num_components, **{"hidden_width": 5, **config})
        program = make_program(x, config, generative)
        params = initial_params(program, seed)
        params = {n: v + 0.3 * rng.standard_normal(v.shape) for n, v in params.items()}
        return x, program, params

    return make


@pytest.fixture
def no_solve(twin, monkeypatch):
    """The stock densities are out of reach: what passes has used the base noise."""

    def refuse(*args, **kwargs):
        raise AssertionError("the stock density was used")

    for name in ("MultivariateNormal", "LowRankMultivariateNormal"):
        monkeypatch.setattr(getattr(twin.dist, name), "log_prob", refuse)


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, left without a trace."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


@pytest.fixture
def write(tmp_path: Path):
    """Write text or bytes to a file of the given name and return its path."""

    def write(content: str | bytes, name: str = "data.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture
def own_world():
    """Pyro's parameter store and torch's random numbers of the test's own, in double precision."""
    import pyro
    import torch

    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    with pyro.get_param_store().scope(), torch.random.fork_rng():
        yield
    torch.set_default_dtype(default)


@pytest.fixture
def x64():
    """JAX's types of 64 bits, where a test calls JAX itself."""
    import jax

    with jax.enable_x64(True):
        yield


@pytest.fixture
def short_chunks(monkeypatch):
    """Of 4 steps, so that 10 are three chunks, the last one shorter."""
    for module in ("batching", "steps"):
        monkeypatch.setattr(f"numpyro_impl.compiled.{module}.CHUNK", 4)


@pytest.fixture
def interpreted(monkeypatch):
    """Machine code is the graph as it was lowered: it is the question, not the seconds of a compiler."""
    import torch

    def begin(graph, arguments, written):
        def quiet(*inputs):
            with torch.no_grad():
                return graph.module(*inputs)

        return lambda: quiet

    monkeypatch.setattr("pyro_impl.compiled.building.begin_compiling", begin)
