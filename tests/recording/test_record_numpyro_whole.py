"""A whole record of a NumPyro program: operations and versions it lists, and the same record made again."""

from __future__ import annotations

import numpy as np
import pytest
from record_numbers import X

jax = pytest.importorskip("jax")
numpyro = pytest.importorskip("numpyro")

import jax.numpy as jnp  # noqa: E402
import numpyro.distributions as dist  # noqa: E402
from record_numpyro_programs import Z, gaussian, gaussian_guide, session  # noqa: E402

from numpyro_impl.recording.program import Program  # noqa: E402
from twinplate.records.record import Given  # noqa: E402


def test_operations_are_those_of_the_program():
    def model(x):
        y = jax.nn.gelu(x, approximate=False)[jnp.array([0, 5])]
        numpyro.sample("y", dist.Normal(0.0, 1.0), obs=y.astype(jnp.float32))

    def guide(x):
        weights = numpyro.param("weights", jnp.ones(3))
        numpyro.sample("z", dist.Normal(weights[jnp.array([0, 2])].sum(), 1.0))

    opened = session(model, guide)
    opened.run(Given({"z": Z[:1]}), (X,), {})
    assert {"erfc", "convert_element_type(float64 to float32)"} <= opened.operations
    assert any(name.startswith("gather(mode=") for name in opened.operations)
    assert "tanh" not in opened.operations
    assert not any(name.startswith("scatter") for name in opened.operations)  # in the gradient only


def test_versions():
    versions = Program(gaussian).versions()
    assert versions["numpyro"] == numpyro.__version__
    assert versions["jax"] == jax.__version__
    assert "device" in versions


def test_a_whole_record_of_itself_is_the_same():
    program = Program(gaussian, gaussian_guide)
    record = program.record((X,), particles=2, seeds=(0,), stress=False)
    other = program.record((X,), like=record)
    assert record.failure is None
    for key, run in record.runs.items():
        np.testing.assert_array_equal(run.loss, other.runs[key].loss)
