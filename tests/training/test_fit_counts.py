"""Fits of counts, and of zeros and ones: from start to posterior, in both twins and on disk."""

from __future__ import annotations

import numpy as np
import pytest
from fit_cases import assert_same_fit, config
from twins import both_twins

from twinplate import Fit, GeneralisedLinear, InputError, ProgramConfig, make_program
from twinplate.programs.parameters import initial_params
from twinplate.training.state import TrainingState


def counts_of(likelihood, num_items=40, missing=0.0, **changes):
    """Items of a known model, the offsets of counts, and a program for them."""
    rng = np.random.default_rng(5)
    concentration = 3.0 if likelihood == "negative-binomial" else None
    loadings = 0.7 * rng.normal(size=(5, 2))
    model = GeneralisedLinear(likelihood, loadings, rng.normal(size=5), concentration=concentration)
    offsets = None if likelihood == "bernoulli" else rng.uniform(0.5, 2.0, num_items)
    x, _ = model.simulate(num_items, rng, offsets)
    x[rng.uniform(size=x.shape) < missing] = np.nan
    encoder = "experts" if missing else "mlp"
    settings = {"hidden_width": 8, "encoder": encoder, "likelihood": likelihood, **changes}
    return x, offsets, make_program(x, ProgramConfig(5, 2, **settings), offsets=offsets)


@both_twins(
    "likelihood, missing",
    [("poisson", 0.0), ("negative-binomial", 0.3), ("bernoulli", 0.3)],
    quick=[("poisson", 0.0), ("negative-binomial", 0.3)],
)
def test_a_fit_is_better_than_its_start_and_numpy_has_its_posterior(twin, likelihood, missing):
    x, offsets, program = counts_of(likelihood, 100, missing)
    fit = twin.impl.fit(x, program, config(steps=100, batch_size=50), offsets=offsets)
    start = Fit(TrainingState.start(initial_params(program, 0)), np.zeros(0), program=program)
    bounds = [one.evidence_bound(x, offsets=offsets, num_samples=200) for one in (start, fit)]
    assert bounds[0].mean < bounds[1].mean  # of the same draws
    found = fit.posterior(x, offsets=offsets)
    theirs = twin.impl.posterior(x, program, fit.params, offsets=offsets)
    np.testing.assert_allclose(found.loc, theirs.loc, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.scale_tril, theirs.scale_tril, rtol=1e-9, atol=1e-9)


def test_counts_on_disk_are_those_in_memory(twin, tmp_path):
    x, offsets, program = counts_of("poisson")
    path = tmp_path / "counts.npy"
    np.save(path, x.astype(np.uint8))
    mapped = np.load(path, mmap_mode="r")
    again = make_program(mapped, program.config, offsets=offsets)
    for name, values in program.fixed.items():
        np.testing.assert_array_equal(values, again.fixed[name])
    fits = [twin.impl.fit(each, program, config(), offsets=offsets) for each in (x, mapped)]
    assert_same_fit(*fits)


def test_a_run_that_goes_on_and_one_of_many_are_the_run(twin):
    x, offsets, program = counts_of("negative-binomial", missing=0.2)
    training = config(steps=220)
    whole = twin.impl.fit(x, program, training, offsets=offsets)
    trainer = twin.impl.Trainer(x, program, training, offsets=offsets)
    trainer.run(next(iter(trainer.plan())))
    rest = twin.impl.fit(x, program, training, offsets=offsets, state=trainer.state)
    np.testing.assert_array_equal(rest.losses, whole.losses[100:])
    np.testing.assert_array_equal(
        rest.params["raw_concentration"], whole.params["raw_concentration"]
    )
    many = twin.impl.fit_many(x, program, training, seeds=(1, 0), offsets=offsets)
    assert not many.diverged.any()
    np.testing.assert_allclose(many.losses[1], whole.losses, rtol=1e-9)


def test_the_unit_of_offsets_does_not_matter(twin):
    """In thousands, loadings are the same and intercepts less by log 1,000."""
    x, offsets, program = counts_of("negative-binomial", missing=0.2)
    other = make_program(x, program.config, offsets=1000 * offsets)
    fit = twin.impl.fit(x, program, config(), offsets=offsets)
    again = twin.impl.fit(x, other, config(), offsets=1000 * offsets)
    np.testing.assert_allclose(again.losses, fit.losses, rtol=1e-9)
    model, theirs = fit.generalised, again.generalised
    np.testing.assert_allclose(theirs.loadings, model.loadings, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(theirs.intercept, model.intercept - np.log(1000), atol=1e-9)
    first = fit.evidence_bound(x, offsets=offsets).value
    np.testing.assert_allclose(again.evidence_bound(x, offsets=1000 * offsets).value, first)


def test_a_series_of_offsets_goes_by_the_index_of_the_items():
    pandas = pytest.importorskip("pandas")
    x, offsets, _ = counts_of("poisson")
    frame, series = pandas.DataFrame(x), pandas.Series(offsets)
    settings = ProgramConfig(5, 2, hidden_width=8, likelihood="poisson")
    programs = [make_program(frame, settings, offsets=o) for o in (series, series.sort_values())]
    for name, values in programs[0].fixed.items():
        np.testing.assert_array_equal(values, programs[1].fixed[name])
    start = TrainingState.start(initial_params(programs[0], 0))
    fit = Fit(start, np.zeros(0), program=programs[0])
    found = [fit.posterior(frame, offsets=o).loc for o in (offsets, series.sort_values())]
    np.testing.assert_array_equal(*found)
    with pytest.raises(InputError, match="another index than x, of 40 items"):
        fit.posterior(frame, offsets=series.set_axis(range(1, 41)))


def test_a_total_is_the_offset_where_none_is_given(twin):
    x, _, _ = counts_of("poisson")
    x += 1
    program = make_program(x, ProgramConfig(5, 2, hidden_width=8, likelihood="poisson"))
    sums = x.sum(axis=1)
    said = twin.impl.fit(x, program, config(), offsets=sums / sums.mean())
    np.testing.assert_allclose(twin.impl.fit(x, program, config()).losses, said.losses, rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": -1.0}, "x holds -1 in row 4, column 3, which is no poisson data"),
        ({"offsets": np.ones(3)}, "offsets have shape"),
        ({"offsets": np.zeros(40)}, "not positive"),
        ({"offsets": None}, "made with given offsets and there are none for x"),
        ({"objective": "simulated"}, "draws normal data only"),
    ],
)
def test_what_cannot_be_fitted(twin, change, message):
    x, offsets, program = counts_of("poisson")
    x[3, 2] = change.get("x", x[3, 2])
    training = config(objective=change.get("objective", "elbo"))
    with pytest.raises(InputError, match=message):
        twin.impl.fit(x, program, training, offsets=change.get("offsets", offsets))


def test_what_a_fit_of_counts_gives_and_what_it_has_not():
    x, offsets, program = counts_of("poisson")
    fit = Fit(TrainingState.start(initial_params(program, 0)), np.zeros(0), program=program)
    bound = fit.evidence_bound(x, offsets=offsets)
    np.testing.assert_array_equal(fit.log_evidence(x, offsets=offsets), bound.value)
    assert fit.sample(x, 3, offsets=offsets).shape == (3, 40, 2)
    found = fit.predict(x, offsets=offsets)
    low, high = found.interval(0.9)
    assert (low == np.floor(low)).all() and (low <= high).all() and (found.mean > 0).all()
    assert "poisson" in str(fit.summary()) and "predictor's variance" in str(fit.summary())
    np.testing.assert_array_equal(fit.generalised.loadings, fit.loadings)
    for missing in (
        lambda: fit.generative,
        lambda: fit.elbo(x),
        lambda: fit.predict(x, exact=True),
    ):
        with pytest.raises(InputError, match="no closed form"):
            missing()
    with pytest.raises(InputError, match="num_samples is 1; expected a whole number, 2 or more"):
        fit.evidence_bound(x, offsets=offsets, num_samples=1)
    with pytest.raises(InputError, match="no poisson data"):
        fit.posterior(x - 1, offsets=offsets)


def test_a_model_of_another_likelihood_is_refused():
    x, offsets, program = counts_of("poisson")
    given = GeneralisedLinear("bernoulli", np.ones((5, 2)))
    with pytest.raises(InputError, match="another likelihood than 'poisson'"):
        make_program(x, program.config, given, offsets=offsets)
    with pytest.raises(InputError, match="the program 'normal'"):
        make_program(x, ProgramConfig(5, 2), given)
    with pytest.raises(InputError, match="expected 'loadings' or 'intercept'"):
        ProgramConfig(5, 2, likelihood="poisson", learned=("noise_scale",))
