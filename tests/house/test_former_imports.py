"""What the documentation once imported from inside of the packages is still there."""

import importlib

import pytest


@pytest.mark.parametrize(
    ("module", "name", "now"),
    [
        ("pyro_impl.program", "Program", "pyro_impl"),
        ("numpyro_impl.program", "Program", "numpyro_impl"),
        ("pyro_impl.guides", "components_first", "pyro_impl"),
        ("numpyro_impl.guides", "components_first", "numpyro_impl"),
        ("twinplate.training", "chunks", "twinplate.training.plan"),
    ],
)
def test_a_name_is_where_it_was(module, name, now):
    here, there = (importlib.import_module(one) for one in (module, now))
    assert getattr(here, name) is getattr(there, name)
