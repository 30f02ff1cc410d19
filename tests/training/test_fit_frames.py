"""A frame goes in where an array does: the same fit, and columns found by name later."""

from __future__ import annotations

import numpy as np
import pytest
from fit_cases import assert_same_fit, config

from twinplate import GeneralisedLinear, InputError, ProgramConfig, make_program

pandas = pytest.importorskip("pandas")

NAMES = ("height", "a/b", "x")


def test_a_frame_of_bytes_is_the_array_of_its_numbers(twin):
    """Shuffled columns are found, in training and after; what is not a feature is refused."""
    counts = np.random.default_rng(0).integers(0, 256, (30, 3)).astype(np.uint8)
    frame = pandas.DataFrame(counts, columns=NAMES, index=[f"i/{n}" for n in range(30)])
    settings = ProgramConfig(3, 1, hidden_width=4)
    numbers = counts.astype(np.float64)
    plain = twin.impl.fit(numbers, make_program(numbers, settings), config())
    program = make_program(frame, settings)
    shuffled = frame[["x", "height", "a/b"]]
    named = twin.impl.fit(shuffled, program, config())
    assert_same_fit(named, plain)
    assert named.features == NAMES and plain.features == ()
    same = np.testing.assert_array_equal
    same(named.posterior(shuffled).loc, plain.posterior(numbers).loc)
    same(named.predict(shuffled).scale, plain.predict(numbers).scale)
    same(named.sample(shuffled, 3), plain.sample(numbers, 3))
    same(named.log_evidence(shuffled), plain.log_evidence(numbers))
    exact, model = plain.generative, named.generative
    same(model.posterior(shuffled).loc, exact.posterior(numbers).loc)
    same(next(model.posterior_blocks(shuffled)).loc, exact.posterior(numbers).loc)
    same(model.log_evidence(shuffled), exact.log_evidence(numbers))
    by_twin = twin.impl.posterior(shuffled, program, named.params)
    np.testing.assert_allclose(by_twin.loc, plain.posterior(numbers).loc, rtol=1e-9, atol=1e-12)
    many = twin.impl.fit_many(shuffled, program, config(), seeds=(0,))
    np.testing.assert_allclose(many.losses[0], plain.losses, rtol=1e-9)
    for asked in (named.posterior, model.log_evidence):
        with pytest.raises(InputError, match="missing: x; unknown: z"):
            asked(frame.rename(columns={"x": "z"}))
    with pytest.raises(InputError, match="missing: x; unknown: none"):
        twin.impl.fit(frame[["height", "a/b"]], program, config())


def test_a_model_of_counts_finds_columns_by_name():
    loadings, a = np.array([[1.0], [0.0], [-1.0]]), np.array([[0.5], [1.0]])
    frame = pandas.DataFrame([[1, 2, 3], [4, 0, 6]], columns=NAMES)
    model = GeneralisedLinear("poisson", loadings)
    named, shuffled = model.with_features(NAMES), frame[["x", "height", "a/b"]]
    np.testing.assert_array_equal(
        named.log_joint(shuffled, a), model.log_joint(frame.to_numpy(), a)
    )
