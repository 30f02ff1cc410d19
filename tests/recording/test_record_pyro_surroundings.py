"""Around a Pyro program: arguments and constants in its precision, and the user's state, which stays."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from record_numbers import X

torch = pytest.importorskip("torch")
pyro = pytest.importorskip("pyro")

import pyro.distributions as dist  # noqa: E402
from record_pyro_programs import local_guide, local_model, ran, session  # noqa: E402

from pyro_impl.recording.program import Program  # noqa: E402
from twinplate.records.record import Given  # noqa: E402


def test_arguments_become_tensors_of_the_precision_and_plain_values_stay():
    seen = {}

    def model(x, tree, *, n, flag=None):
        seen.update(x=x, tree=tree, n=n, flag=flag)

    one = session(model, precision="float64")
    tree = {"i": np.array([1], dtype=np.uint8), "b": [np.array(True), 2.5], "t": torch.ones(2)}
    one.sample(0, Given(), (X.astype(np.float32), tree), {"n": 3, "flag": "text"})
    assert (seen["x"].dtype, seen["tree"]["t"].dtype) == (torch.float64, torch.float64)
    assert (seen["tree"]["i"].dtype, seen["tree"]["b"][0].dtype) == (torch.int64, torch.bool)
    assert (seen["tree"]["b"][1], seen["n"], seen["flag"]) == (2.5, 3, "text")


OFFSET = torch.tensor([1.0, 2.0, 3.0])


def shifted(x):
    return [pyro.sample(f"x{i}", dist.Normal(OFFSET[i], 1.0), obs=v) for i, v in enumerate(x)]


def test_a_constant_among_the_globals_is_raised_to_double_precision():
    run = ran(lambda x: shifted(x), Given(), X, guide=lambda x: None)
    assert run.model["x2"].arguments["loc"].dtype == np.float64
    assert OFFSET.dtype == torch.float32


HELD = SimpleNamespace(offset=torch.tensor(0.5))


def test_a_constant_in_an_object_is_raised_to_double_precision():
    def model(x):
        pyro.sample("x", dist.Normal(HELD.offset, 1.0), obs=x[0])

    run = ran(model, Given(), X, guide=lambda x: None)
    assert run.model["x"].arguments["loc"].dtype == np.float64
    assert HELD.offset.dtype == torch.float32


def test_a_constant_among_the_defaults_is_raised_to_double_precision():
    def model(x, first=torch.tensor(0.5), *, second=torch.tensor(0.25)):  # noqa: B008
        pyro.sample("first", dist.Normal(first, 1.0), obs=x[0])
        pyro.sample("second", dist.Normal(second, 1.0), obs=x[1])

    run = ran(model, Given(), X, guide=lambda x: None)
    assert {run.model[name].arguments["loc"].dtype for name in ("first", "second")} == {
        np.dtype("float64")
    }


WEIGHTS = np.array([0.2, 0.7], dtype=np.float32)


def test_numpy_arrays_of_single_precision_lose_no_digits_and_come_back():
    """A tensor made of one within the program would take its exponential in single precision."""
    inside, held = WEIGHTS[:1], SimpleNamespace(listed=[WEIGHTS], pair=(WEIGHTS, "name"))

    def model(x, default=WEIGHTS):
        arrays = (WEIGHTS, inside, held.listed[0], held.pair[0], default)
        reached = torch.cat([torch.as_tensor(a).exp() for a in arrays])
        pyro.deterministic("reached", reached)
        pyro.sample("x", dist.Normal(0.0, 1.0), obs=x[0])

    run = ran(model, Given(), X, guide=lambda x: None)
    scales = np.exp(WEIGHTS.astype(float))
    expected = [np.concatenate([scales, scales[:1], *[scales] * 3])]
    np.testing.assert_allclose(run.model["reached"].value, expected, rtol=1e-15)
    again = (inside, held.listed[0], held.pair[0], model.__defaults__[0])
    assert {a.dtype for a in again} == {np.dtype("float32")} and held.pair[0] is WEIGHTS


def test_the_users_store_randomness_and_default_type_stay():
    pyro.clear_param_store()
    pyro.param("loc", torch.tensor([9.0]))
    pyro.set_rng_seed(3)
    expected = torch.rand(2)
    pyro.set_rng_seed(3)
    Program(local_model, local_guide).record((X,), seeds=(0,), stress=False)
    assert torch.equal(torch.rand(2), expected)
    assert torch.get_default_dtype() == torch.float32
    assert list(pyro.get_param_store()) == ["loc"]
    assert pyro.param("loc").item() == 9
    pyro.clear_param_store()
