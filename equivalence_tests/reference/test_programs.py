"""Sites, plates, densities, ELBO per particle and gradients of every valid pair, in double precision."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from equivalence_tests.reference.agreement import differences, relative_error
from equivalence_tests.reference.cases import (
    CONDITIONS,
    PAIRS,
    TWINS,
    ReferenceCase,
    all_but_the_first_slow,
    all_cases,
    all_sizes,
    three_quarters_of_them_slow,
)


@pytest.mark.parametrize("case", all_but_the_first_slow(all_cases()))
def test_twins_agree(case: ReferenceCase) -> None:
    assert differences(case.run("pyro"), case.run("numpyro")) == []


def test_what_is_not_slow_has_every_two_switches_in_every_way() -> None:
    def switches(case: ReferenceCase) -> tuple[object, ...]:
        return (case.guide, case.covariance), case.condition, case.amplitude, case.learned

    def in_every_way(chosen: list[ReferenceCase]) -> set[tuple[object, ...]]:
        named = [[*enumerate(switches(case))] for case in chosen]
        return {two for case in named for two in combinations(case, 2)}

    first = [case for case in all_cases() if case.is_first]
    assert len(first) == len(PAIRS) * len(CONDITIONS)
    assert in_every_way(first) == in_every_way(all_cases())


@pytest.mark.parametrize("case", three_quarters_of_them_slow(all_sizes()))
def test_twins_agree_at_every_size(case: ReferenceCase) -> None:
    batch_size, num_components, _, particles = case.size
    first, second = case.run("pyro"), case.run("numpyro")
    assert differences(first, second) == []
    assert first.returned.shape == (particles, num_components, batch_size)
    assert first.elbo.shape == (particles,)


@pytest.mark.parametrize(("guide", "covariance"), PAIRS)
def test_sites_are_those_of_the_design(guide: str, covariance: str) -> None:
    """Shapes and plates spelt out by hand, so that both twins cannot be wrong together."""
    run = ReferenceCase(guide, covariance, "particles-vectorised", amplitude=True).run("pyro")
    items, features, components = 5, 4, 3
    mini_batch, plated = ("mini_batch", -1, 9, 5), ("components", -2, 3, 3)
    batch = {"amplitude": (items,), "x": (items,), "a": (components, items)}
    event = {"amplitude": (), "x": (features,), "a": ()}
    if guide == "event":
        batch["a"], event["a"] = (items,), (components,)
    for name, site in run.model.items():
        assert (site.batch_shape, site.event_shape) == (batch[name], event[name])
        in_plates = [(p.name, p.dim, p.size, p.subsample_size) for p in site.plates]
        assert in_plates == ([plated, mini_batch] if batch[name] == (3, 5) else [mini_batch])
        assert site.scale == 9 / 5
        assert site.value.shape == (2, *batch[name], *event[name])
    assert list(run.model) == ["amplitude", "a", "x"]
    if guide == "auxiliary":
        aux = run.guide["a_aux"]
        assert (aux.kind, aux.batch_shape, aux.event_shape) == ("auxiliary", (5,), (3,))
        np.testing.assert_array_equal(aux.value.mT, run.guide["a"].value)
    np.testing.assert_array_equal(run.guide["a"].value, run.model["a"].value)


@pytest.mark.parametrize("covariance", ["full", "diagonal", "low-rank"])
@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize("amplitude", [False, True])
def test_event_and_auxiliary_routes_give_the_same_elbo(
    twin: str, covariance: str, amplitude: bool
) -> None:
    condition = "particles-vectorised"
    event = ReferenceCase("event", covariance, condition, amplitude, learned=True)
    auxiliary = ReferenceCase("auxiliary", covariance, condition, amplitude, learned=True)
    assert all(np.array_equal(event.params[n], auxiliary.params[n]) for n in event.params)
    noise = {**event.noise, "a_aux": event.noise["a"]}
    noise.pop("a")
    first, second = event.run(twin), auxiliary.run(twin, noise=noise)
    assert relative_error(first.elbo, second.elbo) <= 1e-12
    for name in first.gradient:
        assert relative_error(first.gradient[name], second.gradient[name]) <= 1e-12


@pytest.mark.parametrize(
    ("guide", "covariance"),
    [pytest.param(*pair, marks=pytest.mark.slow if n % 3 else ()) for n, pair in enumerate(PAIRS)],
)
@pytest.mark.parametrize("twin", TWINS)
def test_subsampled_elbos_average_to_the_full_elbo(twin: str, guide: str, covariance: str) -> None:
    """Over a partition of the items, each with its own noise, scaled by N / B."""
    full = ReferenceCase(
        guide, covariance, "full-data", amplitude=True, learned=True, size=(6, 3, 4, 1)
    )
    impl, x, training = TWINS[twin], full.x, full.training()
    whole = impl.evaluate(x, full.program, full.params, full.noise, training).elbo
    parts = []
    for start in range(0, 6, 2):
        items = slice(start, start + 2)
        # `a` of the diagonal guide is (K, B), the other noises have the items first.
        noise = {
            name: v[:, :, items] if (guide, name) == ("diagonal", "a") else v[:, items]
            for name, v in full.noise.items()
        }
        part = impl.evaluate(x[items], full.program, full.params, noise, training, num_items=6)
        parts.append(part.elbo)
        assert part.model["x"].scale == 3.0
    assert relative_error(whole, np.mean(parts, axis=0)) <= 1e-12
    assert relative_error(whole, parts[0]) > 1e-3
