"""Around a NumPyro program: arguments and constants in its precision, and the user's state, which stays."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from record_numbers import NORMAL, X
from scipy import special, stats

jax = pytest.importorskip("jax")
numpyro = pytest.importorskip("numpyro")

import jax.numpy as jnp  # noqa: E402
import numpyro.distributions as dist  # noqa: E402
from record_numpyro_programs import Z, gaussian, ran, session  # noqa: E402

from twinplate.records.record import Given  # noqa: E402


def test_plain_numbers_stay_plain_and_floats_can_change():
    def model(x, count, width, flag=True):
        assert isinstance(count, int)
        assert flag is True
        with numpyro.plate("data", count):
            numpyro.sample("x", dist.Normal(0.0, width), obs=x["inside"][0])
        numpyro.deterministic("single", width * jnp.ones((), jnp.float32))

    opened = session(model, lambda *args, **kwargs: None)
    for width in (1.0, 2.0):
        run = opened.run(Given(), ({"inside": [X]}, 3, width), {"flag": True})
        np.testing.assert_allclose(run.loss, [-NORMAL(X, 0, width).sum()], rtol=1e-12)
        assert run.model["single"].dtype == "float32"  # a plain number promotes nothing
    assert opened._ways[0][1]


def test_a_program_that_looks_at_its_values_runs_operation_by_operation():
    def model(x):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        loc = z if z > 0 else -2 * z
        numpyro.sample("x", dist.Normal(loc, 1.0).expand([3]).to_event(1), obs=x[x == x])

    def guide(x):
        numpyro.sample("z", dist.Normal(numpyro.param("loc", 0.0), 1.0))

    given = Given({"z": Z}, {}, {"loc": np.array(0.2)})
    run = ran(model, given, X, guide=guide, particles=2, compiled=False)
    locs = np.where(Z > 0, Z, -2 * Z)
    expected = [
        NORMAL(z, 0.2) - NORMAL(z) - NORMAL(X, m).sum() for z, m in zip(Z, locs, strict=True)
    ]
    np.testing.assert_allclose(run.loss, expected, rtol=1e-12)
    np.testing.assert_array_equal(run.model["z"].value, Z)


def test_a_guide_that_keeps_arrays_is_built_again():
    class Guide:
        first = None

        def __call__(self, x):
            if self.first is None:
                self.first = 2 + jnp.asarray(x)[0]
            numpyro.sample("z", dist.Normal(numpyro.param("loc", 0.0) + self.first, 1.0))

    given = Given({"z": Z[:1]})
    run = ran(gaussian, given, X, guide=Guide())
    np.testing.assert_allclose(run.guide["z"].log_prob, NORMAL(Z[:1], 2 + X[0]))
    opened = session(gaussian, Guide())
    for _ in range(2):
        assert opened.sample(0, Given(), (X,), {}).failure is None
        np.testing.assert_array_equal(opened.run(given, (X,), {}).loss, run.loss)


BORROWED = jnp.array([0.1, 0.7])  # in single precision: outside of any session


class Prior:
    """Callable, keeps an array."""

    def __init__(self):
        self.scale = jnp.array(0.3)

    def __call__(self):
        return dist.Normal(0.0, jnp.exp(self.scale))


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_arrays_that_a_program_reaches_are_in_its_precision(precision):
    inside, listed, prior = jnp.array(0.2), [jnp.array(0.4)], Prior()
    ready = dist.Gamma(jnp.array(0.9), 1.0)

    @jax.jit
    def compiled(values):
        return jnp.exp(values) + jnp.exp(BORROWED)

    def model(x, default=jnp.array(0.3), *, keyword=jnp.array(0.8)):  # noqa: B008
        numpyro.sample("a", dist.Dirichlet(jnp.exp(BORROWED)), obs=jnp.array([0.5, 0.5]))
        reached = (inside, listed[0], default, keyword, *(s for s in BORROWED))
        numpyro.deterministic("scales", jnp.stack([jnp.exp(s) for s in reached]))
        numpyro.deterministic("compiled", compiled(BORROWED))
        numpyro.sample("b", prior(), obs=x[0])
        numpyro.sample("c", ready, obs=x[2])

    run = ran(model, Given(), X, guide=lambda x: None, precision=precision)
    rounded = np.array([0.2, 0.4, 0.3, 0.8, 0.1, 0.7], dtype=np.float32)
    digits = 1e-14 if precision == "float64" else 1e-6
    scales = np.exp(rounded.astype(float))
    np.testing.assert_allclose(run.model["scales"].value, [scales], rtol=digits)
    np.testing.assert_allclose(run.model["compiled"].value, [2 * scales[4:]], rtol=digits)
    a = stats.dirichlet.logpdf([0.5, 0.5], scales[4:])
    np.testing.assert_allclose(run.model["a"].log_prob, [a], rtol=100 * digits)
    b = NORMAL(X[0], 0, np.exp(float(np.float32(0.3))))
    np.testing.assert_allclose(run.model["b"].log_prob, [b], rtol=digits)
    c = stats.gamma.logpdf(X[2], float(np.float32(0.9)))
    np.testing.assert_allclose(run.model["c"].log_prob, [c], rtol=digits)
    assert {v.dtype for v in (BORROWED, inside, listed[0], prior.scale, ready.concentration)} == {
        np.dtype("float32")
    }
    assert model.__defaults__[0].dtype == "float32"


COUNTS = jnp.array([3, 700])  # of JAX's default type: int32, outside of any session


@pytest.mark.parametrize(
    "held",
    [(COUNTS, "name"), SimpleNamespace(counts=COUNTS), [np.asarray(COUNTS)]],
    ids=["tuple", "namespace", "NumPy"],
)
def test_whole_numbers_that_a_program_reaches_lose_no_digits(held):
    """JAX takes gammaln of an int32 array in single precision, right to 1e-7."""

    def model(x):
        counts = held.counts if isinstance(held, SimpleNamespace) else held[0]
        numpyro.deterministic("factorials", jax.scipy.special.gammaln(counts))
        numpyro.sample("x", dist.Normal(0.0, 1.0).expand([3]).to_event(1), obs=x)

    run = ran(model, Given(), X)
    expected = special.gammaln([3.0, 700.0])
    np.testing.assert_allclose(run.model["factorials"].value[0], expected, rtol=1e-14)
    counts = held.counts if isinstance(held, SimpleNamespace) else held[0]
    assert counts.dtype == "int32"


@pytest.mark.parametrize("flag", [False, True])
def test_the_users_precision_and_handlers_are_restored(flag):
    def model():
        jax.config.update("jax_enable_x64", not flag)
        numpyro.sample("z", dist.Normal(0.0, 1.0))
        raise RuntimeError

    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", flag)
    try:
        for precision in ("float32", "float64"):
            session(model, precision=precision).sample(0, Given(), (), {})
            assert jax.config.jax_enable_x64 == flag
        assert numpyro.primitives._PYRO_STACK == []
    finally:
        jax.config.update("jax_enable_x64", before)


WEIGHTS = np.array([0.1, 0.25, 1.5])
COUNTS = np.array([2, 3, 5])


@pytest.mark.parametrize("constant", [WEIGHTS, COUNTS], ids=["real", "whole"])
def test_a_numpy_array_beside_the_model_is_a_constant_of_both_precisions(constant, capfd):
    """JAX keeps what it made of the array in double precision, and gives it to single precision, too."""

    def model():
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        numpyro.sample("x", dist.Normal(jax.nn.sigmoid(z) * constant, 1.0).to_event(1), obs=X[:3])

    def guide():
        numpyro.sample("z", dist.Normal(numpyro.param("loc", 0.0), 1.0))

    exact, single = session(model, guide), session(model, guide, precision="float32")
    given = Given({"z": np.array([0.3])}, {}, {"loc": np.array(0.2)})
    expected = NORMAL(0.3, 0.2) - NORMAL(0.3) - NORMAL(X[:3], special.expit(0.3) * constant).sum()
    for opened, digits in ((exact, 1e-12), (single, 1e-5)) * 2:
        np.testing.assert_allclose(opened.run(given, (), {}).loss, [expected], rtol=digits)
        assert opened._ways[0][1], "it runs operation by operation"
    assert "Mismatch" not in capfd.readouterr().err
