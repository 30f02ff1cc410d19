"""Each half works where the other framework is not installed: seen in interpreters that refuse it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from absent import JAX_SIDE, REFUSE, TORCH_SIDE

USE = """
import numpy as np
from twinplate import LinearGaussian, ProgramConfig, TrainingConfig, make_program
from twinplate.backends import load_backend
from twinplate.programs.parameters import noise_shapes
from twinplate.seeds import base_noise

impl = load_backend({backend!r})
rng = np.random.default_rng(0)
generative = LinearGaussian(rng.normal(size=(4, 2)))
x, a = generative.simulate(10, rng)
x[0, 1] = np.nan
for guide, objective in (("auxiliary", "elbo"), ("event", "simulated"), ("diagonal", "pairs")):
    program = make_program(x, ProgramConfig(4, 2, guide=guide, hidden_width=4), generative)
    pairs = a.T if objective == "pairs" else None
    training = TrainingConfig(steps=5, batch_size=4, objective=objective, device="cpu")
    fitted = impl.fit(x, program, training, a=pairs)
    assert np.isfinite(fitted.losses).all() and len(fitted.losses) == 5
kl = generative.kl_to_posterior(x, impl.posterior(x, program, fitted.params))
assert kl.shape == (10,) and (kl > 0).all()
noise = base_noise(0, 0, noise_shapes(program.config, 10))
found = impl.evaluate(x, program, fitted.params, noise, TrainingConfig(device="cpu"))
assert np.isclose(found.loss, -found.elbo.mean(), rtol=1e-4)
assert not set({absent!r}) & {{name.split(".")[0] for name in sys.modules}}
print("ok")
"""

WITHOUT = """
from twinplate.backends import available_backends, load_backend
from twinplate import InputError

assert available_backends() == {available!r}, available_backends()
for backend in {refused!r}:
    try:
        load_backend(backend)
    except InputError as error:
        print(error)
    else:
        raise SystemExit(f"{{backend}} was loaded")
"""


def run(*parts: str, **values) -> str:
    """Output of a fresh interpreter."""
    code = "\n".join(part.format(**values) for part in parts)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("backend", "absent"), [("pyro", JAX_SIDE), ("numpyro", TORCH_SIDE)])
def test_a_half_works_alone(backend, absent):
    assert run(REFUSE, USE, backend=backend, absent=absent) == "ok\n"


@pytest.mark.parametrize(
    ("absent", "available", "refused"),
    [
        (JAX_SIDE, ["pyro"], ["numpyro"]),
        (TORCH_SIDE, ["numpyro"], ["pyro"]),
        (TORCH_SIDE + JAX_SIDE, [], ["pyro", "numpyro"]),
        (("flax",), ["pyro"], ["numpyro"]),
        (("pyro",), ["numpyro"], ["pyro"]),
    ],
)
def test_the_half_that_is_missing_is_named_with_its_extra(absent, available, refused):
    lines = run(REFUSE, WITHOUT, absent=absent, available=available, refused=refused).splitlines()
    assert len(lines) == len(refused)
    for backend, line in zip(refused, lines, strict=True):
        assert f"pip install 'twinplate[{backend}]'" in line
        assert any(name in line for name in absent)


def test_the_core_works_without_either():
    """Closed forms, configuration, data, and all that a `Fit` says need no framework."""
    code = """
import numpy as np
from twinplate import (
    Fit, LinearGaussian, ProgramConfig, TrainingState, initial_params, make_program
)

generative = LinearGaussian(np.eye(4, 2))
x, _ = generative.simulate(10, np.random.default_rng(0))
program = make_program(x, ProgramConfig(4, 2), generative)
fit = Fit(TrainingState.start(initial_params(program, 0)), np.zeros(0), program=program)
assert np.isfinite(fit.predict(x).mean).all() and fit.sample(x, 3).shape == (3, 10, 2)
np.testing.assert_array_equal(fit.log_evidence(x), generative.log_evidence(x))
assert "component 1" in str(fit.summary())
print("ok")
"""
    assert run(REFUSE, code, absent=TORCH_SIDE + JAX_SIDE) == "ok\n"
