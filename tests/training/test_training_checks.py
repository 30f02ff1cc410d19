"""What training says of data that it cannot use, before anything goes to a device."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from fit_cases import config

from twinplate import InputError, ProgramConfig, make_program
from twinplate.training.checks import RoundingWarning, check_data
from twinplate.training.plan import chunks
from twinplate.training.streaming import with_batches

X = np.random.default_rng(0).normal(size=(12, 4))
PROGRAM = ProgramConfig(4, 3)


def with_entries(*entries):
    x = X.copy()
    for row, column, value in entries:
        x[row, column] = value
    return x


REFUSED = {
    "list": (X.tolist(), "x is a list; expected a NumPy array"),
    "one item": (X[0], r"x has shape \(4,\); expected .* = \(B, 4\)"),
    "wrong D": (X[:, :3], r"x has shape \(12, 3\); expected .* = \(B, 4\)"),
    "transposed": (X.T, r"x has shape \(4, 12\).*transposed: pass x.T"),
    "no item": (X[:0], "expected one item or more"),
    "text": (X.astype(str), "x holds <U32 values; expected real numbers"),
    "complex": (X.astype(complex), "x holds complex128 values"),
    "infinite": (
        with_entries((7, 2, np.inf), (9, 0, -np.inf)),
        "x holds 2 entries that are infinite in float64, the first in row 8, column 3",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("function", ["fit", "Trainer", "fit_many"])
def test_refused(twin, problem, case, function):
    x, message = REFUSED[case]
    more = {"seeds": (0,)} if function == "fit_many" else {}
    with pytest.raises(InputError, match=message):
        getattr(twin.impl, function)(x, problem()[1], config(), **more)


def test_what_a_precision_cannot_hold_is_infinite_in_it():
    x = with_entries((3, 1, 1e200))
    assert check_data(x, PROGRAM, config(precision="float64"))
    with pytest.raises(InputError, match=r"1 entry that is infinite in float32.*row 4, column 2"):
        check_data(x, PROGRAM, config(precision="float32"))


def correlated(unit=1.0, away=0.0):
    """Three features, of which the second has another unit and stands away from zero."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 1)) * np.array([1.0, 2.0, 3.0]) + rng.normal(size=(100, 3))
    x[:, 1] = unit * x[:, 1] + away
    return x, make_program(x, ProgramConfig(3, 1))


@pytest.mark.parametrize("unit", [1e-20, 1e20])
def test_features_whose_squares_a_precision_does_not_hold_are_refused(twin, unit):
    x, program = correlated(unit)
    with pytest.raises(InputError, match=r"column 2 of x .* float32 .* give it another unit"):
        twin.impl.fit(x, program, config(precision="float32", steps=2))
    assert np.isfinite(twin.impl.fit(x, program, config(precision="float64", steps=2)).losses).all()


@pytest.mark.parametrize("unit", [1e-15, 1e15])
def test_a_unit_makes_no_difference_within_what_can_be_squared(twin, unit):
    """The losses differ by the logarithm of the unit."""
    losses = [
        twin.impl.fit(*correlated(each), config(precision="float32", steps=5)).losses
        for each in (1.0, unit)
    ]
    np.testing.assert_allclose(losses[1] - np.log(unit), losses[0], atol=1e-4)


def test_features_that_a_precision_rounds_are_told_of(twin):
    """1e7 ± 2: neighbours in float32 are 1 apart, and whole numbers are held."""
    x, program = correlated(away=1e7)
    with pytest.warns(RoundingWarning, match="float32 rounds column 2 by more than 3 %"):
        twin.impl.fit(x, program, config(precision="float32", steps=2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        twin.impl.fit(x, program, config(precision="float64", steps=2))
        twin.impl.fit(*correlated(away=1e4), config(precision="float32", steps=2))
        whole, fitted = correlated(away=2**23)[0].round(), correlated()[1]
        check_data(whole, fitted.config, config(precision="float32"), noise_scale=np.ones(3))


def test_a_far_item_says_nothing_of_the_precision_of_its_feature():
    far = with_entries((3, 1, 1e7), (5, 2, 1e30))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_data(far, PROGRAM, config(precision="float32"), noise_scale=np.ones(4))


@pytest.mark.parametrize("dtype", ["float64", "float32", ">f4", "int16", "bool"])
def test_numbers_of_every_kind_are_taken(dtype):
    assert check_data((9 * X).astype(dtype), PROGRAM, config())


def test_one_pass_in_blocks_finds_missing_and_infinite_entries(tmp_path, monkeypatch):
    from twinplate.training import checks as training_data

    monkeypatch.setattr("twinplate.data.blocks.fitting.__defaults__", (8 * 4 * 5,))
    read, passes = training_data.blocks, []
    monkeypatch.setattr(
        training_data, "blocks", lambda *x, **rows: passes.append(1) or read(*x, **rows)
    )

    def mapped(x):
        np.save(tmp_path / "x.npy", x)
        return np.load(tmp_path / "x.npy", mmap_mode="r")

    assert check_data(mapped(X), PROGRAM, config())
    for row in range(12):
        assert not check_data(mapped(with_entries((row, 3, np.nan))), PROGRAM, config())
    with pytest.raises(InputError, match="row 12, column 4"):
        check_data(mapped(with_entries((0, 0, np.nan), (11, 3, np.inf))), PROGRAM, config())
    assert len(passes) == 14


def test_a_map_needs_chunks_that_bring_their_batches(twin, problem, tmp_path):
    np.save(tmp_path / "x.npy", X)
    x, (_, program, _) = np.load(tmp_path / "x.npy", mmap_mode="r"), problem()
    options = {"compiled": False} if twin.name == "pyro" else {}
    trainer = twin.impl.Trainer(x, program, config(), **options)
    plan = list(chunks(program.config, config(), 12, False))
    with pytest.raises(InputError, match=r"brings no mini-batches; expected .*with_batches"):
        trainer.run(plan[0])
    assert len(trainer.run(next(iter(with_batches(plan, x, None))))) == 5


def test_a_chunk_of_another_plan_is_refused(twin, problem, tmp_path, monkeypatch):
    """The trainer of a map has room for the chunks of its own plan: matched ones are shorter."""
    monkeypatch.setattr("twinplate.training.plan.CHUNK_BYTES", 8 * 5 * 7 * 2)
    np.save(tmp_path / "x.npy", X)
    x, (_, program, _) = np.load(tmp_path / "x.npy", mmap_mode="r"), problem()
    options = {"compiled": False} if twin.name == "pyro" else {}
    trainer = twin.impl.Trainer(x, program, config(), matched=True, **options)
    own, other = (chunks(program.config, config(), 12, matched) for matched in (True, False))
    with pytest.raises(InputError, match=r"has 3 steps; expected 2 at most: .*`matched`"):
        trainer.run(next(iter(with_batches(other, x, None))))
    assert len(trainer.run(next(iter(with_batches(own, x, None))))) == 2
