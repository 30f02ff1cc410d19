"""A joint latent in another order: gradients of Cholesky factors against derivatives taken by hand."""

from __future__ import annotations

import numpy as np
import pytest

from twinplate.records.record import Parameter, Plate, Run, Site
from twinplate.verification.matching.joint_latent import JointOrder, find_joint_orders, in_plates
from twinplate.verification.matching.sites import SiteMatch

D = 5
ORDER = np.array([3, 0, 4, 1, 2])
PACKING = JointOrder("_auto_latent", "_auto_latent", ORDER)
rng = np.random.default_rng(0)
WEIGHTS = rng.normal(size=(D, D))


def factor(raw: np.ndarray) -> np.ndarray:
    """L = diag(s) (I + Z), s = softplus(r): r on the diagonal of `raw`, Z below it."""
    scale = np.log1p(np.exp(np.diagonal(raw)))
    return scale[:, None] * (np.tril(raw, -1) + np.eye(D))


def loss(covariance: np.ndarray) -> float:
    """Any smooth function of a covariance in the first program's order."""
    return float((np.sin(covariance) * WEIGHTS).sum())


def numerical(function, raw: np.ndarray) -> np.ndarray:
    """Central differences in the entries of the lower triangle."""
    gradient = np.zeros_like(raw)
    for i, j in zip(*np.tril_indices(D), strict=True):
        step = np.zeros_like(raw)
        step[i, j] = 1e-6
        gradient[i, j] = (function(raw + step) - function(raw - step)) / 2e-6
    return gradient


def raw_of(tril: np.ndarray) -> np.ndarray:
    scale = np.diagonal(tril)
    return np.tril(tril / scale[:, None], -1) + np.diag(np.log(np.expm1(scale)))


def test_the_gradient_of_a_factor_follows_the_covariance() -> None:
    first = rng.normal(size=(D, D))
    mine = factor(first)
    covariance = mine @ mine.T
    theirs = np.linalg.cholesky(covariance[ORDER][:, ORDER])

    def second_loss(raw: np.ndarray) -> float:
        tril = factor(raw)
        return loss((tril @ tril.T)[np.argsort(ORDER)][:, np.argsort(ORDER)])

    gradient = numerical(second_loss, raw_of(theirs))
    run = Run(parameters={"auto_scale_tril": Parameter("tril", theirs, gradient)})
    found = PACKING.run_to_first(run).parameters["auto_scale_tril"]
    np.testing.assert_allclose(found.value, mine, rtol=1e-12)
    expected = numerical(lambda raw: loss(factor(raw) @ factor(raw).T), first)
    np.testing.assert_allclose(found.gradient, expected, rtol=1e-6, atol=1e-7)
    back = PACKING.values_to_second({"auto_scale_tril": mine})
    np.testing.assert_allclose(back["auto_scale_tril"], theirs, rtol=1e-12)


@pytest.mark.parametrize(("name", "axis"), [("auto_loc", -1), ("auto_cov_factor", -2)])
def test_entries_and_rows_go_there_and_back(name, axis) -> None:
    shape = (D,) if axis == -1 else (D, 2)
    values = rng.normal(size=shape)
    there = PACKING.values_to_second({name: values})[name]
    np.testing.assert_array_equal(there, values[ORDER])
    back = PACKING.run_to_first(Run(parameters={name: Parameter("real", there, there)}))
    np.testing.assert_array_equal(back.parameters[name].value, values)
    np.testing.assert_array_equal(back.parameters[name].gradient, values)


def test_other_parameters_stay() -> None:
    values = {"loc": np.arange(5.0), "z_auto_loc": np.arange(5.0)}
    for name, moved in PACKING.values_to_second(values).items():
        np.testing.assert_array_equal(moved, values[name])


def site(batch, event, support="real", plates=(), family="Normal", value=None) -> Site:
    return Site("latent", plates, batch, event, support, family, "float64", 1.0, value)


ROWS = (Plate("rows", -1, 3, 3),)
MODEL = {
    "w": site((), (3,), "simplex"),
    "b": site((3,), (2,), plates=ROWS),
    "a": site((), (), "positive"),
}


def program(order: str, model=MODEL) -> Run:
    latent = site((), (9,), value=np.zeros((1, 9)))
    deltas = {n: site(model[n].batch_shape, model[n].event_shape, family="Delta") for n in order}
    return Run({"_auto_latent": latent, **deltas}, model)


def matches(names: str) -> tuple[SiteMatch, ...]:
    return tuple(SiteMatch((name,), (name,)) for name in names)


def joint_order(*runs_and_matches) -> JointOrder | None:
    """Of the only joint latent."""
    return next(iter(find_joint_orders(*runs_and_matches)), None)


JOINT = (SiteMatch(("_auto_latent",), ("_auto_latent",)),)


def test_the_order_is_that_of_the_unpacked_sites() -> None:
    """A simplex of 3 has two unconstrained numbers."""
    packing = joint_order(program("wba"), program("abw"), JOINT, matches("wba"))
    assert packing is not None
    assert packing.order.tolist() == [8, 2, 3, 4, 5, 6, 7, 0, 1]
    assert joint_order(program("wba"), program("wba"), JOINT, matches("wba")) is None


def test_a_site_laid_out_otherwise_is_reordered_within() -> None:
    columns = (Plate("columns", -2, 2, 2), *ROWS)
    other = {**MODEL, "b": site((2, 3), (), plates=columns)}
    packing = joint_order(program("wba"), program("wba", other), JOINT, matches("wba"))
    assert packing is not None
    assert packing.order.tolist() == [0, 1, 2, 4, 6, 3, 5, 7, 8]


def test_what_does_not_add_up_is_left_alone() -> None:
    short = program("wb")
    assert joint_order(program("wba"), short, JOINT, matches("wba")) is None
    assert joint_order(program("wba"), program("abw"), (), matches("wba")) is None


def test_unpacked_sites_are_in_the_plates_of_the_model() -> None:
    run = program("wba")
    assert in_plates(run.guide, run.model)["b"].plates == ROWS
    alone = {name: s for name, s in run.guide.items() if name != "_auto_latent"}
    assert in_plates(alone, run.model)["b"].plates == ()  # a guide of the user's own


def stacked(order: str) -> Run:
    """As `program` of a, w and the steps b_0, b_1, b_2, but the steps are one site b."""
    series = {**MODEL, "b": site((3,), (2,))}
    return program(order, series)


def loop(*order: str) -> Run:
    model = {**MODEL, **{f"b_{t}": site((), (2,)) for t in range(3)}}
    latent = site((), (9,), value=np.zeros((1, 9)))
    deltas = {n: site((), model[n].event_shape, family="Delta") for n in order}
    return Run({"_auto_latent": latent, **deltas}, model)


def test_steps_are_found_in_their_stack() -> None:
    steps = ("b_0", "b_1", "b_2")
    first, second = loop("w", *steps, "a"), stacked("abw")
    series = (*matches("wa"), SiteMatch(steps, ("b",)))
    packing = joint_order(first, second, JOINT, series)
    assert packing is not None
    assert packing.order.tolist() == [8, 2, 3, 4, 5, 6, 7, 0, 1]
    swapped = (*matches("wa"), SiteMatch(("b",), steps))
    back = joint_order(second, first, JOINT, swapped)
    assert back is not None
    assert back.order.tolist() == [7, 8, 1, 2, 3, 4, 5, 6, 0]
    late = joint_order(loop("w", "b_1", "b_0", "b_2", "a"), stacked("wba"), JOINT, series)
    assert late is not None
    assert late.order.tolist() == [0, 1, 4, 5, 2, 3, 6, 7, 8]
