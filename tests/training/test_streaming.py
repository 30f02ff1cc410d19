"""Training and posteriors on memory-mapped data: the numbers of the in-memory path, at constant memory."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest
from twins import both_twins

from twinplate.data.blocks import on_disk
from twinplate.programs.config import ProgramConfig, TrainingConfig
from twinplate.training.plan import chunks
from twinplate.training.streaming import ahead, with_batches

SMALL = {"precision": "float64", "device": "cpu", "batch_size": 16}


@pytest.fixture
def mapped(tmp_path):
    """Write an array to an NPY file and map it."""

    def mapped(x):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.npy"
        np.save(path, x)
        return np.load(path, mmap_mode="r")

    return mapped


# ------------------------------------------------------------------------------------ what is fetched


def plan(num_items, steps=250, **changes):
    program = ProgramConfig(5, 3)
    return list(chunks(program, TrainingConfig(steps, **{**SMALL, **changes}), num_items, False))


def test_chunks_bring_their_batches_along(mapped):
    rng = np.random.default_rng(0)
    x, a = rng.normal(size=(40, 5)).astype(np.float32), rng.normal(size=(3, 40))
    for pairs in (None, a, mapped(a)):
        for chunk in with_batches(plan(40), mapped(x), pairs):
            np.testing.assert_array_equal(chunk.x[chunk.places], x[chunk.indices])
            head = chunk.head(7)
            np.testing.assert_array_equal(head.x[head.places], x[chunk.indices[:7]])
            if pairs is not None:
                np.testing.assert_array_equal(chunk.a[:, chunk.places], a[:, chunk.indices])
            else:
                assert chunk.a is None


def test_data_in_memory_leave_the_chunks_alone():
    given = plan(40)
    found = list(with_batches(given, np.zeros((40, 5)), np.zeros((3, 40))))
    assert all(one is other for one, other in zip(given, found, strict=True))


def test_chunks_are_shorter_where_their_batches_are_large(monkeypatch):
    monkeypatch.setattr("twinplate.training.plan.CHUNK_BYTES", 8 * 16 * 5 * 30)
    lengths = [len(chunk.rates) for chunk in plan(40)]
    assert lengths == [30] * 8 + [10]
    together = chunks(ProgramConfig(5, 3), TrainingConfig(250, **SMALL), 40, False, fits=3)
    assert [len(chunk.rates) for chunk in together] == [10] * 25
    monkeypatch.setattr("twinplate.training.plan.CHUNK_BYTES", 1)
    assert len(plan(40)) == 250


# ------------------------------------------------------------------------------------- one step ahead


def test_ahead_keeps_the_order_and_is_one_ahead():
    made: list[int] = []
    second = threading.Event()

    def items():
        for i in range(5):
            made.append(i)
            if i == 1:
                second.set()
            yield i

    for i, item in enumerate(ahead(items())):
        assert second.wait(10)  # the next is made without being asked for
        assert item == i and len(made) <= i + 2
    assert made == list(range(5))


def test_ahead_passes_errors_on_and_ends_its_thread():
    def failing():
        yield 1
        raise ValueError("no more")

    before = threading.active_count()
    with pytest.raises(ValueError, match="no more"):
        list(ahead(failing()))
    left = ahead(iter(range(10)))
    next(left)
    left.close()
    assert threading.active_count() == before


# ---------------------------------------------------------------------- the same numbers, to the bit


WAYS = [
    ({"encoder": "experts", "learned": ("loadings",)}, {"precision": "float32"}),
    ({"guide": "event", "covariance": "low-rank"}, {"objective": "pairs"}),
]


@both_twins("options, training", WAYS, quick=WAYS[1:])
def test_training_on_a_map_is_training_on_the_array(
    twin, problem, mapped, monkeypatch, options, training
):
    """Cut into chunks, and for two frameworks' own noise."""
    monkeypatch.setattr("twinplate.training.plan.CHUNK", 4)
    x, program, _ = problem(50, missing=0.2 if "encoder" in options else 0, **options)
    x = x.astype(np.float32)
    a = np.random.default_rng(0).normal(size=(3, 50)) if "objective" in training else None
    config = TrainingConfig(steps=8, **{**SMALL, **training})
    whole = twin.impl.fit(x.astype(np.float64), program, config, a=a)
    streamed = twin.impl.fit(mapped(x), program, config, a=None if a is None else mapped(a))
    np.testing.assert_array_equal(whole.losses, streamed.losses)
    for part in ("params", "mean", "variance"):
        for name, values in getattr(whole.state, part).items():
            np.testing.assert_array_equal(getattr(streamed.state, part)[name], values)
    assert len(set(whole.losses)) == 8


@both_twins("objective", ["elbo", "pairs"], quick=["pairs"])
def test_restarts_on_a_map_are_those_on_the_array(twin, problem, mapped, monkeypatch, objective):
    """Every fit with mini-batches of its own: no more than those of 4 steps, of 2 where fits are together."""
    monkeypatch.setattr("twinplate.training.plan.CHUNK_BYTES", 8 * 16 * 4 * 4)  # 4 features
    monkeypatch.setattr("twinplate.training.restarts.JUDGED", 32)
    x, program, _ = problem(2000)
    a = np.random.default_rng(0).normal(size=(3, 2000)) if objective == "pairs" else None
    config = TrainingConfig(steps=8, objective=objective, **SMALL)
    whole = twin.impl.fit_many(x, program, config, seeds=(0, 1), a=a)
    module, name = (
        ("training.trainer", "to_tensor")
        if twin.name == "pyro"
        else ("training.placement", "to_array")
    )
    converted = [(twin.module(module), name), (twin.module("programs.posteriors"), name)]
    for room, function in converted:
        convert = getattr(room, function)

        def small(values, *rest, convert=convert):
            assert max(np.shape(values), default=0) <= (64 if twin.name == "pyro" else 32)
            return convert(values, *rest)

        monkeypatch.setattr(room, function, small)
    pairs = None if a is None else mapped(a)
    streamed = twin.impl.fit_many(mapped(x), program, config, seeds=(0, 1), a=pairs)
    np.testing.assert_allclose(streamed.losses, whole.losses, rtol=1e-13)
    assert len(np.unique(whole.losses)) == 16
    for one, other in zip(streamed.fits, whole.fits, strict=True):
        for parameter, values in other.params.items():
            np.testing.assert_allclose(one.params[parameter], values, rtol=0, atol=1e-12)


def test_what_became_of_a_fit_is_judged_in_memory(twin, problem, mapped, monkeypatch):
    """On rows copied out of the map, whose pages are not left resident."""
    x, program, _ = problem(50)
    room, seen = twin.module("training.restarts"), []
    encode = room.posterior
    monkeypatch.setattr(
        room, "posterior", lambda x, *rest: (seen.append(on_disk(x)), encode(x, *rest))[1]
    )
    twin.impl.fit_many(mapped(x), program, TrainingConfig(steps=2, **SMALL), seeds=(0,))
    assert seen == [False]


def test_a_map_is_never_copied_as_a_whole(twin, problem, mapped, monkeypatch):
    """Of 2,000 rows `fit` converts no more than a mini-batch or, in one go, those of a chunk of 4."""
    monkeypatch.setattr("twinplate.training.plan.CHUNK", 4)
    x, program, _ = problem(2000)
    where, name = (
        ("training.trainer", "to_tensor")
        if twin.name == "pyro"
        else ("training.placement", "to_array")
    )
    module, seen = twin.module(where), []
    convert = getattr(module, name)
    monkeypatch.setattr(
        module, name, lambda v, *rest: (seen.append(np.shape(v)), convert(v, *rest))[1]
    )
    twin.impl.fit(mapped(x), program, TrainingConfig(steps=4, **SMALL))
    assert seen and max(shape[0] for shape in seen if shape) <= 64
    seen.clear()
    twin.impl.fit(x, program, TrainingConfig(steps=1, **SMALL))
    assert x.shape in seen


@both_twins("precision", ["float32", "float64"], quick=["float64"])
def test_matched_noise_counts_towards_the_length_of_a_chunk(
    twin, problem, mapped, monkeypatch, precision
):
    """4 features and 3 components are 7 numbers for every item: of 11 steps 4 fit at a time, never 7."""
    monkeypatch.setattr("twinplate.training.plan.CHUNK_BYTES", 8 * 16 * 7 * 4)
    x, program, _ = problem(2000)
    config = TrainingConfig(steps=11, **{**SMALL, "precision": precision})
    module, seen, told = twin.module("training.trainer"), [], []
    name = "to_tensor" if twin.name == "pyro" else "to_inputs"
    convert = getattr(module, name)

    def spied(*arguments):
        converted = convert(*arguments)
        noise = converted.noise.values() if twin.name == "numpyro" else [converted]
        seen.extend(tuple(values.shape) for values in noise)
        return converted

    monkeypatch.setattr(module, name, spied)
    streamed = twin.impl.fit(
        mapped(x), program, config, matched=True, progress=lambda step, losses: told.append(step)
    )
    assert told == [4, 8, 11]
    assert (4, 1, 16, 3) in seen and max(max(shape, default=0) for shape in seen) <= 64
    monkeypatch.undo()
    whole = twin.impl.fit(x, program, config, matched=True)
    np.testing.assert_allclose(
        streamed.losses, whole.losses, rtol=1e-12 if precision == "float64" else 1e-5
    )


def test_restarts_share_the_room_for_matched_noise(problem, monkeypatch):
    """NumPyro's fits are held at the same time, whether or not the data are in memory."""
    import numpyro_impl

    monkeypatch.setattr("twinplate.training.plan.CHUNK_BYTES", 8 * 16 * 7 * 4)
    x, program, _ = problem(50)
    for matched, steps in ((True, [2, 4, 5]), (False, [5])):
        told = []
        numpyro_impl.fit_many(
            x, program, TrainingConfig(steps=5, **SMALL), seeds=(0, 1), matched=matched,
            progress=lambda step, losses, told=told: told.append(step),
        )  # fmt: skip
        assert told == [2 * step for step in steps]


def test_posterior_blocks_of_a_map_are_the_posterior_of_the_array(
    twin, problem, mapped, monkeypatch
):
    x, program, params = problem(50, missing=0.2, encoder="experts")
    x = x.astype(np.float32)
    whole = twin.impl.posterior(x.astype(np.float64), program, params)
    parts = list(twin.impl.posterior_blocks(mapped(x), program, params))
    assert [len(part.loc) for part in parts] == [50]
    np.testing.assert_array_equal(parts[0].scale_tril, whole.scale_tril)
    # 3 × 3 doubles are 72 bytes: 20 items fit into 1,440 and the last block is shorter
    monkeypatch.setattr(twin.module("programs.posteriors"), "CHUNK_BYTES", 1440)
    parts = list(twin.impl.posterior_blocks(mapped(x), program, params))
    assert [len(part.loc) for part in parts] == [20, 20, 10]
    for name in ("loc", "scale_tril"):
        joined = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_allclose(joined, getattr(whole, name), rtol=1e-12, atol=1e-13)


def test_the_callers_settings_hold_between_two_blocks(twin, problem, monkeypatch):
    """A generator that is paused must not leave its device, precision or gradient mode behind."""
    monkeypatch.setattr(twin.module("programs.posteriors"), "CHUNK", 4)
    x, program, params = problem(10)
    blocks = twin.impl.posterior_blocks(x, program, params)
    with twin.using("float32"):
        next(blocks)
        if twin.name == "pyro":
            assert twin.torch.is_grad_enabled()
        else:
            assert twin.jax.numpy.ones(1).dtype == np.float32
        assert len(list(blocks)) == 2


# ----------------------------------------------------------------------------------- constant memory


PIPELINE = """
import sys
from pathlib import Path
import numpy as np
from rich.console import Console
from twinplate.data.blocks import on_disk
from twinplate.commands.fit_command import FitRequest, run_fit
from twinplate.commands.posterior_command import run_posterior
from twinplate.programs.config import TrainingConfig
from twinplate.data.readers import load_matrix
from twinplate.host import peak_memory

D, PART = 256, 1000
backend, suffix, rng = *sys.argv[1:], np.random.default_rng(0)

def npy(data, num_items, parts):
    with data.open("xb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (num_items, D)}
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            file.write(part.tobytes())

def parquet(data, num_items, parts):
    import pyarrow as pa, pyarrow.parquet as pq
    schema = pa.schema([(f"x{j}", pa.float32()) for j in range(D)])
    with pq.ParquetWriter(data, schema) as file:
        for part in parts:
            file.write_table(pa.table(list(part.T), schema=schema), row_group_size=PART)

def zarr(data, num_items, parts):
    import zarr
    array = zarr.create_array(data, shape=(num_items, D), chunks=(PART, D), dtype="f4")
    for i, part in enumerate(parts):
        array[i * PART : (i + 1) * PART] = part

def growth(name, num_items):
    "Bytes by which the peak is above what is resident before: check, fit, summary and posterior."
    data = Path(f"{name}.{suffix}")
    parts = (rng.standard_normal((PART, D), np.float32) for _ in range(num_items // PART))
    globals()[suffix](data, num_items, parts)
    request = FitRequest(data, Path(name), backend, "auxiliary", "full", 2, 2, None, "error")
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what is resident now
    before = peak_memory()
    run_fit(request, TrainingConfig(steps=120, batch_size=32, device="cpu"), Console())
    run_posterior(Path(name), data, Path(f"{name}-posterior"), backend)
    print("on disk:", on_disk(load_matrix(data).x))  # of the large one
    return peak_memory() - before

growth("first", 8000)  # compiles, and fills what the frameworks keep
small, large = growth("small", 8000), growth("large", 200_000)
print("more in MB:", (large - small) // 2**20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets a peak of memory")
@pytest.mark.slow  # writes and reads 205 MB, in a process of its own
@pytest.mark.parametrize(
    ("backend", "suffix"),
    [("pyro", "npy"), ("numpyro", "npy"), ("pyro", "parquet"), ("numpyro", "zarr")],
)
def test_memory_does_not_grow_with_the_file(tmp_path, backend, suffix):
    """Check, fit, summary and posterior of 205 MB: within 128 MB of what 8 MB needed.

    Of these, 64 MB are the pages of the 32 rows that are fetched between two releases
    (`blocks.SCATTERED`): how many of them are resident at a time is the system's choice. A copy, or
    pages kept, would be 205 MB. All in one process: what importing and compiling take differs from one
    process to the next.
    """
    command = [sys.executable, "-c", PIPELINE, backend, suffix]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert "on disk: True" in done.stdout
    assert int(done.stdout.split("more in MB:")[1]) < 128
    loc = np.load(tmp_path / "large-posterior" / "loc.npy", mmap_mode="r")
    assert loc.shape == (200_000, 2)
