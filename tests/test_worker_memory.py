"""What the processes of tests let go of, and what they keep."""

from __future__ import annotations

import jax
import numpy as np
from jax._src import pjit

from equivalence_tests.worker_memory import forget_text

COMPILED = "/jax/core/compile/backend_compile_duration"


def test_of_a_compiled_program_only_the_text_goes():
    """A name of JAX that has moved must not pass for a program whose text is gone."""
    happened = []
    noted = lambda name, *_, **__: happened.append(name)
    jax.monitoring.register_event_duration_secs_listener(noted)
    double = jax.jit(lambda x: 2 * x)
    x = jax.device_put(np.arange(3.0))
    double(x)
    assert COMPILED in happened and pjit._pjit_lower.cache_info().currsize > 0
    happened.clear()
    forget_text()
    assert pjit._pjit_lower.cache_info().currsize == 0
    np.testing.assert_array_equal(double(x), [0, 2, 4])
    assert happened == []
    jax.monitoring.unregister_event_duration_listener(noted)
