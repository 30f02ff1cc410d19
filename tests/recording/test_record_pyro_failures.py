"""A Pyro program that fails: the record says where, at which site, and what was reached."""

from __future__ import annotations

import numpy as np
import pytest
from record_numbers import NORMAL, X

torch = pytest.importorskip("torch")
pyro = pytest.importorskip("pyro")

import pyro.distributions as dist  # noqa: E402
from pyro import poutine  # noqa: E402
from record_pyro_programs import local_guide, local_model, ran, session  # noqa: E402

from pyro_impl.recording.program import Program  # noqa: E402
from twinplate.errors import InputError  # noqa: E402
from twinplate.records.record import Given, Settings  # noqa: E402


def failing_model(x):
    pyro.sample("a", dist.Normal(0.0, 1.0))
    pyro.sample("b", dist.Normal(0.0, -1.0), obs=x)


def broken(x):
    pyro.sample("a", dist.Normal(0.0, 1.0))
    raise KeyError("mine")


def wrong_plate(x):
    pyro.sample("a", dist.Normal(0.0, 1.0))
    with pyro.plate("data", 4):
        pyro.sample("b", dist.Normal(torch.zeros(3), 1.0), obs=x)


def outside(x):
    pyro.sample("a", dist.Beta(2.0, 2.0), obs=x.sum() + 7)


@pytest.mark.parametrize(
    ("model", "guide", "stage", "site", "error", "line"),
    [
        (
            failing_model,
            None,
            "model",
            "a",
            "ValueError: Expected parameter scale",
            "Normal(0.0, -1.0)",
        ),
        (broken, None, "model", "a", "KeyError: 'mine'", 'raise KeyError("mine")'),
        (local_model, broken, "guide", "a", "KeyError: 'mine'", 'raise KeyError("mine")'),
        (outside, None, "model", "a", "ValueError: Expected value argument", ""),
        (wrong_plate, None, "model", "b", "ValueError: Shape mismatch inside plate", 'sample("b"'),
    ],
)
def test_failures_say_where(model, guide, stage, site, error, line):
    for run in (
        session(model, guide).sample(0, Given(), (X,), {}),
        session(model, guide).run(Given({"a": np.zeros(1)}), (X,), {}),
    ):
        assert (run.failure.stage, run.failure.site) == (stage, site)
        assert run.failure.error.startswith(error)
        assert line in run.failure.traceback
        assert (
            "site-packages" not in run.failure.traceback
            and "session.py" not in run.failure.traceback
        )
        assert set(getattr(run, stage)) == {"a"}
        assert run.loss is None


def test_a_failure_in_a_sequential_plate_leaves_no_handler_behind():
    def model(x):
        for i in pyro.plate("steps", 3):
            pyro.sample(f"z{i}", dist.Normal(0.0, -1.0))

    for _ in range(2):
        run = session(model).run(Given(), (X,), {})
        assert run.failure.error.startswith("ValueError: Expected parameter scale")
        assert not poutine.runtime._PYRO_STACK


def test_a_shape_that_no_plate_declares_stops_the_loss_at_its_site():
    def model(x):
        pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    run = session(model, lambda x: None).run(Given(), (X,), {})
    assert (run.failure.stage, run.failure.site) == ("model", "x")
    assert run.model["x"].batch_shape == (3,)
    np.testing.assert_allclose(run.model["x"].log_prob, [NORMAL(X)])


def test_a_builder_that_fails_and_keyboard_interrupts():
    run = Program.build(lambda: 1 / 0).session("float64", Settings()).run(Given(), (), {})
    assert (run.failure.stage, run.failure.error) == (
        "build",
        "ZeroDivisionError: division by zero",
    )

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        session(interrupted).sample(0, Given(), (), {})
    assert torch.get_default_dtype() == torch.float32


def test_a_parameter_of_another_shape_is_an_input_error():
    with pytest.raises(InputError, match=r"'loc' has shape \(2,\); expected \(3,\)"):
        ran(local_model, Given(parameters={"loc": np.zeros(2)}), X, guide=local_guide)


def test_a_plate_that_is_made_in_every_step_is_named_and_how_to_mend_it():
    def chain(x, again):
        items, z = pyro.plate("items", 3), torch.zeros(3)
        for t in range(2):
            with pyro.plate("items", 3) if again else items:
                z = pyro.sample(f"z_{t}", dist.Normal(z, 1.0))

    run = session(chain).run(Given(), (X, True), {})
    assert "plate 'items' is made more than once: make it before the loop" in run.failure.error
    assert "Multiple sample sites named 'items'" in run.failure.error
    assert session(chain).sample(0, Given(), (X, False), {}).failure is None
