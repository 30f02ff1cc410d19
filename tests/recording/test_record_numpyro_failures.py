"""A NumPyro program that fails: the record says where, at which site, and what was reached."""

from __future__ import annotations

import re
from contextlib import nullcontext

import numpy as np
import pytest
from record_numbers import NORMAL, X

pytest.importorskip("jax")
numpyro = pytest.importorskip("numpyro")

import jax.numpy as jnp  # noqa: E402
import numpyro.distributions as dist  # noqa: E402
from record_numpyro_programs import GIVEN, Z, gaussian, session  # noqa: E402

from numpyro_impl.recording.program import Program  # noqa: E402
from twinplate.records.record import Given, Settings  # noqa: E402


def failing(x):
    with numpyro.plate("data", 3):
        numpyro.sample("fine", dist.Normal(0.0, 1.0), obs=x)
        raise_at(x)


def raise_at(x):
    numpyro.sample("broken", dist.Normal(jnp.zeros(4), 1.0))


def test_an_error_names_the_site_and_shows_the_users_frames():
    run = session(failing).sample(0, Given(), (X,), {})
    assert run.failure is not None
    assert (run.failure.stage, run.failure.site) == ("model", "broken")
    assert run.failure.error.startswith("ValueError: Incompatible shapes")
    assert "raise_at(x)" in run.failure.traceback
    assert "site-packages" not in run.failure.traceback
    assert "numpyro_impl" not in run.failure.traceback
    np.testing.assert_allclose(run.model["fine"].log_prob, [NORMAL(X)])


def test_an_error_between_sites_names_the_last_one():
    def guide(x):
        numpyro.sample("z", dist.Normal(numpyro.param("loc", 0.5), 1.0))
        raise KeyError("x")

    run = session(gaussian, guide).run(GIVEN, (X,), {})
    assert (run.failure.stage, run.failure.site) == ("guide", "z")
    assert run.failure.error == "KeyError: 'x'"
    assert run.guide["z"].kind == "latent"
    assert run.loss is None


def test_an_error_in_a_density_names_its_site():
    class Broken(dist.Normal):
        def log_prob(self, value):
            raise RuntimeError("no density")

    def model(x):
        numpyro.sample("y", Broken(0.0, 1.0), obs=x[0])
        numpyro.sample("after", dist.Normal(0.0, 1.0))

    run = session(model).sample(0, Given(), (X,), {})
    assert (run.failure.site, run.failure.error) == ("y", "RuntimeError: no density")
    site = run.model["y"]
    assert (site.kind, site.family, site.log_prob) == ("observed", "Broken", None)


def test_an_error_of_the_objective_is_one_of_the_loss():
    def guide(x):
        numpyro.sample("z", dist.Normal(0.0, 1.0))
        numpyro.sample("other", dist.Normal(0.0, 1.0))

    run = session(gaussian, guide, loss="TraceMeanField_ELBO").run(GIVEN, (X,), {})
    assert run.failure.stage == "loss"
    assert re.match(  # NumPyro's own has no text
        r"AssertionError, without a text, raised by 'assert .+' \(numpyro/infer/elbo.py:\d+\)$",
        run.failure.error,
    )
    assert run.guide["z"].value == Z[0]


@pytest.mark.parametrize(
    ("guide", "plate", "own"),
    [
        (lambda x: numpyro.param("loc", 0.1), numpyro.plate, "KeyError: 'n'"),
        (None, numpyro.plate, "KeyError: 'n'"),
        (None, lambda name, size: nullcontext(), "ValueError: Expected the joint log density"),
    ],
    ids=["with a guide", "without", "without any plate"],
)
def test_enumeration_without_a_plate_says_which_site_is_outside(guide, plate, own):
    """own: what NumPyro itself says."""

    def model(x):
        k = numpyro.sample("k", dist.Bernoulli(np.full(3, 0.5)), infer={"enumerate": "parallel"})
        with plate("n", 3):
            numpyro.sample("x", dist.Normal(k, 1.0), obs=x)

    run = session(model, guide, loss="TraceEnum_ELBO").run(Given(), (X[:3],), {})
    assert own in run.failure.error
    assert (run.failure.stage, run.failure.site) == ("loss", "k")
    assert run.failure.error.startswith("missing a plate: site 'k' has batch dim -1 of size 3")


def test_a_builder_that_raises():
    def builder():
        raise OSError("no file")

    run = Program.build(builder).session("float64", Settings()).sample(0, Given(), (), {})
    assert (run.failure.stage, run.failure.error) == ("build", "OSError: no file")
    assert "no file" in run.failure.traceback


def test_missing_arguments():
    run = session(gaussian).sample(0, Given(), (), {})
    assert run.failure.stage == "model"
    assert "missing 1 required positional argument" in run.failure.error


def test_keyboard_interrupts_pass():
    def model():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        session(model).sample(0, Given(), (), {})


def test_a_model_that_stops_is_said_to_have_reached_its_own_last_site():
    """Though its guide went on to the sites behind it."""

    def model():
        numpyro.sample("a", dist.Normal(0.0, 1.0))
        raise ValueError("no further")

    def guide():
        for name in ("a", "b"):
            numpyro.sample(name, dist.Normal(0.0, 1.0))

    failure = Program(model, guide).record(seeds=(0,), stress=False).failure
    assert (failure.stage, failure.site) == ("model", "a")
