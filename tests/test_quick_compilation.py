"""What XLA is told for programs that run a few times: what this release knows."""

from __future__ import annotations

from contextlib import suppress
from threading import Event, Thread

import jax
import pytest

from numpyro_impl import quick_compilation
from numpyro_impl.quick_compilation import (
    QUICK,
    UNOPTIMISED,
    loop_options,
    quick_functions,
    quick_options,
)


@pytest.fixture(autouse=True)
def asked_anew():
    quick_options.cache_clear()
    yield
    quick_options.cache_clear()


def test_only_a_cpu_is_told():
    assert quick_options("gpu") is None
    assert QUICK.items() >= quick_options("cpu").items() >= {("xla_backend_optimization_level", 0)}


def test_an_option_that_xla_does_not_know_is_left_out(monkeypatch):
    known = {"xla_backend_optimization_level": 0}
    monkeypatch.setattr(quick_compilation, "QUICK", {**known, "xla_no_such_option": True})
    assert quick_options("cpu") == known


def test_another_error_of_the_compiler_is_not_taken_for_that(monkeypatch):
    def broken(*args, **kwargs):
        raise jax.errors.JaxRuntimeError("out of memory")

    monkeypatch.setattr(jax.stages.Lowered, "compile", broken)
    with pytest.raises(jax.errors.JaxRuntimeError, match="out of memory"):
        quick_options("cpu")


def test_a_release_that_lacks_an_option_compiles_a_loop_as_it_does(monkeypatch):
    assert loop_options("cpu", 1, 0.0) == QUICK
    monkeypatch.setattr(quick_compilation, "quick_options", lambda platform: {"some": True})
    assert loop_options("cpu", 1, 0.0) is None


@pytest.mark.parametrize("wish", [False, True])
def test_the_users_own_wish_stands_after_quick_functions(wish):
    before = jax.config.read(UNOPTIMISED)
    jax.config.update(UNOPTIMISED, wish)
    try:
        with suppress(KeyboardInterrupt), quick_functions:
            assert jax.config.read(UNOPTIMISED)
            raise KeyboardInterrupt
        assert jax.config.read(UNOPTIMISED) is wish
    finally:
        jax.config.update(UNOPTIMISED, before)


def test_of_two_threads_within_the_last_one_that_leaves_brings_the_users_wish_back():
    wish = jax.config.read(UNOPTIMISED)
    first, second = Event(), Event()

    def stay():
        with quick_functions:
            first.set()
            second.wait(60)

    thread = Thread(target=stay)
    with quick_functions:
        thread.start()
        assert first.wait(60)
    assert jax.config.read(UNOPTIMISED)
    second.set()
    thread.join()
    assert jax.config.read(UNOPTIMISED) == wish
