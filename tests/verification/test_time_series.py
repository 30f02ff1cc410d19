"""Parameters of a series: one for each step, or one stack, there and back."""

from __future__ import annotations

import numpy as np

from twinplate.records.record import Parameter
from twinplate.verification.matching.sites import SiteMatch
from twinplate.verification.matching.time_series import find_stacks

STEPS = ("z_0", "z_1", "z_2")
STACK = np.arange(6.0).reshape(3, 2)


def parameter(value: np.ndarray, gradient: bool = True) -> Parameter:
    return Parameter("real", value, 10 * value if gradient else None)


def test_a_stack_is_split_for_the_steps_of_the_first_program() -> None:
    parameters = {"z_auto_loc": parameter(STACK), "a_auto_loc": parameter(np.ones(3))}
    stacks = find_stacks([SiteMatch(STEPS, ("z",)), SiteMatch(("a",), ("a",))], parameters)
    split = stacks.to_first(parameters)
    assert set(split) == {"a_auto_loc", "z_0_auto_loc", "z_1_auto_loc", "z_2_auto_loc"}
    for t in range(3):
        np.testing.assert_array_equal(split[f"z_{t}_auto_loc"].value, STACK[t])
        np.testing.assert_array_equal(split[f"z_{t}_auto_loc"].gradient, 10 * STACK[t])
    back = stacks.values_to_second({name: p.value for name, p in split.items()})
    assert set(back) == set(parameters)
    np.testing.assert_array_equal(back["z_auto_loc"], STACK)
    assert stacks.own_name("z_1_auto_loc") == "z_auto_loc"
    assert stacks.own_name("a_auto_loc") == "a_auto_loc"


def test_steps_are_joined_for_the_stack_of_the_first_program() -> None:
    parameters = {f"AutoNormal.scales.{z}": parameter(STACK[t]) for t, z in enumerate(STEPS)}
    stacks = find_stacks([SiteMatch(("z",), STEPS)], parameters)
    joined = stacks.to_first(parameters)
    assert set(joined) == {"AutoNormal.scales.z"}
    np.testing.assert_array_equal(joined["AutoNormal.scales.z"].value, STACK)
    np.testing.assert_array_equal(joined["AutoNormal.scales.z"].gradient, 10 * STACK)
    back = stacks.values_to_second({"AutoNormal.scales.z": STACK})
    assert {name: list(v) for name, v in back.items()} == {
        name: list(p.value) for name, p in parameters.items()
    }
    assert stacks.own_name("AutoNormal.scales.z") == "AutoNormal.scales.z_0"


def test_without_gradients_there_are_none() -> None:
    match = [SiteMatch(STEPS, ("z",))]
    whole = {"z_auto_loc": parameter(STACK, gradient=False)}
    split = find_stacks(match, whole).to_first(whole)
    assert {p.gradient for p in split.values()} == {None}
    steps = {f"{z}_auto_loc": parameter(STACK[t], gradient=t > 0) for t, z in enumerate(STEPS)}
    joined = find_stacks([SiteMatch(("z",), STEPS)], steps).to_first(steps)
    assert joined["z_auto_loc"].gradient is None


def test_what_is_no_stack_of_these_steps_is_left_alone() -> None:
    """Another length, another site, steps of unequal shapes, a step without parameters, no autoguide's."""
    match = [SiteMatch(STEPS, ("z",))]
    for parameters in (
        {"z_auto_loc": parameter(STACK[:2])},
        {"w_auto_loc": parameter(STACK)},
        {"z": parameter(STACK)},
    ):
        assert find_stacks(match, parameters).to_first(parameters) == parameters
    unequal = {"z_0_auto_loc": parameter(STACK), "z_1_auto_loc": parameter(STACK[0])}
    for parameters in (unequal, {**unequal, "z_2_auto_loc": parameter(STACK)}):
        found = find_stacks([SiteMatch(("z",), STEPS)], parameters)
        assert found.to_first(parameters) == parameters
