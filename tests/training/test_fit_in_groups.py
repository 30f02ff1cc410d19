"""Several processes that take each mini-batch together: losses and parameters are those of one process."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from fit_cases import ALL, PROGRAMS, config, linear_gaussian
from fit_cases import N as TWELVE
from process_groups import in_group

import pyro_impl
from pyro_impl.compiled import building
from twinplate import InputError, NonFiniteLossError
from twinplate.commands.doctor_command import COMPILERS
from twinplate.training import checks, plan, streaming
from twinplate.training.preparation import Preparation

N, B = 23, 9
PARTS = ("params", "mean", "variance", "average")


def fits(group, cases):
    """The fit of each case: arguments of `fit`, and what stands beside them."""
    building.begin_compiling = as_lowered  # as the fixture `interpreted` has it
    return [pyro_impl.fit(*given, **also, group=group) for given, also in cases]


def as_lowered(graph, arguments, written):
    def quiet(*inputs):
        with torch.no_grad():
            return graph.module(*inputs)

    return lambda: quiet


def assert_close(found, expected, relative):
    """The same but for rounding, by the size of each array; losses by their own."""
    np.testing.assert_allclose(found.losses, expected.losses, rtol=relative, atol=0)
    for part in PARTS:
        for name, values in getattr(expected.state, part).items():
            size = np.abs(values).max() or 1.0
            apart = np.abs(getattr(found.state, part)[name] - values).max()
            assert apart <= relative * size, (part, name, apart / size)


def assert_same_everywhere(found):
    """To the bit."""
    for other in found[1:]:
        np.testing.assert_array_equal(other.losses, found[0].losses)
        for part in PARTS:
            for name, values in getattr(found[0].state, part).items():
                np.testing.assert_array_equal(getattr(other.state, part)[name], values)


def cases_of(problem):
    """(name, arguments, options): objectives, estimators, guides, missing entries, particles, ways."""
    x, program, _ = problem(N, missing=0.2, **PROGRAMS["learned, amplitude"])
    x[3] *= 30  # whose gradient is cut
    training = config(steps=12, batch_size=B, learning_rate=0.05)
    diagonal = problem(N, **PROGRAMS["diagonal"])
    event = problem(N, **PROGRAMS["event full"])
    low = problem(N, missing=0.2, learned=ALL, **PROGRAMS["auxiliary low-rank"])
    a = np.random.default_rng(0).normal(size=(3, N))
    yield "learned", (x, program, training), {}
    yield "eager", (x, program, training), {"compiled": False}
    yield "machine code", (x, program, training), {"machine_code": True}
    yield "matched", (x, program, training), {"matched": True}
    yield "simulated", (x, program, replace(training, objective="simulated")), {}
    yield "pairs", (*event[:2], replace(training, objective="pairs")), {"a": a}
    yield "simulated, event", (*event[:2], replace(training, objective="simulated")), {}
    yield "analytic", (*diagonal[:2], replace(training, estimator="analytic-kl")), {}
    sticking = replace(training, estimator="sticking-the-landing", particles=2)
    yield "sticking", (*low[:2], sticking), {}
    yield "vectorised", (*low[:2], replace(sticking, vectorize_particles=True)), {}


FEW = ("learned", "matched", "machine code", "simulated", "vectorised")


@pytest.mark.parametrize(
    ("size", "chosen"),
    [(2, FEW), (4, FEW[:2]), pytest.param(3, None, marks=pytest.mark.slow)],
)
def test_a_group_fits_as_one_process(problem, interpreted, size, chosen):
    """B = 9 items are shared unevenly by 2 and by 4 processes."""
    known = {name: given for name, *given in cases_of(problem) if name in (chosen or [name])}
    names, cases = [*known], [*known.values()]
    found = in_group(size, fits, cases)
    for name, (given, also), of_all in zip(names, cases, zip(*found, strict=True), strict=True):
        whole = pyro_impl.fit(*given, **also)
        assert_close(of_all[0], whole, 1e-12)
        assert_same_everywhere(of_all)
        assert np.ptp(whole.losses) > 0.1, name


def compiled_fits(group, cases):
    return [pyro_impl.fit(*given, **also, group=group) for given, also in cases]


@pytest.mark.slow  # each process has C++ compiled
@pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="no C++ compiler")
def test_machine_code_in_a_group_fits_as_one_process(problem):
    known = {name: given for name, *given in cases_of(problem) if name == "machine code"}
    (case,) = known.values()
    found = [fits for (fits,) in in_group(2, compiled_fits, [case])]
    assert_close(found[0], pyro_impl.fit(*case[0]), 1e-12)
    assert_same_everywhere(found)
    assert found[0].compile_seconds > 0  # a fraction of a second where torch's cache is warm


def single(group, x, program, training, broken):
    """A fit in single precision; one in blocks of items; and what is said of data that break one."""
    fine = pyro_impl.fit(x, program, training, group=group)
    few = replace(training, steps=6)
    with pytest.raises(NonFiniteLossError) as raised:
        pyro_impl.fit(broken, program, few, group=group)
    Preparation.items_at_once = lambda self, memory: 8
    blocks = pyro_impl.fit(x, program, few, compiled=False, group=group)
    return fine, blocks, str(raised.value)


def test_single_precision_blocks_of_items_and_losses_that_break():
    """An item that breaks the loss of one process: all take the steps again, and stop at the same one."""
    x, program = linear_gaussian(learned=ALL)
    training = config(steps=200, batch_size=50, precision="float32")
    few, broken = replace(training, steps=6), x.copy()
    broken[17] = 1e30
    found = in_group(2, single, x, program, training, broken)
    whole, ahead = (pyro_impl.fit(x, program, given) for given in (training, few))
    with pytest.raises(NonFiniteLossError) as raised:
        pyro_impl.fit(broken, program, few)
    for fine, blocks, message in found:
        np.testing.assert_allclose(fine.losses, whole.losses, rtol=1e-6)
        np.testing.assert_allclose(blocks.losses, ahead.losses, rtol=1e-6)
        assert message == str(raised.value)


def rows_read(group, path, program, training):
    """The rows of a map that this process looks at to check them, and the items that it reads to train."""
    checked, read = [], []
    blocks, gather = checks.blocks, streaming.gather

    def looked_at(x, rows):
        checked.append(rows.indices(len(x))[:2])
        return blocks(x, rows=rows)

    def gathered(x, items):
        read.append(items)
        return gather(x, items)

    checks.blocks, streaming.gather = looked_at, gathered
    plan.CHUNK = 7
    fit = pyro_impl.fit(np.load(path, mmap_mode="r"), program, training, group=group)
    return fit, checked, read


def test_of_data_on_disk_each_process_reads_its_rows_alone(problem, monkeypatch, tmp_path):
    x, program, _ = problem(N, missing=0.2)
    np.save(tmp_path / "x.npy", x)
    training = config(steps=20, batch_size=B)
    found = in_group(2, rows_read, tmp_path / "x.npy", program, training)
    monkeypatch.setattr(plan, "CHUNK", 7)
    assert_close(found[0][0], pyro_impl.fit(x, program, training), 1e-12)
    assert [checked for _, checked, _ in found] == [[(0, 12)], [(12, 23)]]
    chunks = [*plan.chunks(program.config, training, N, False)]
    for chunk, first, second in zip(chunks, found[0][2], found[1][2], strict=True):
        np.testing.assert_array_equal(first, chunk.indices[:, :5].reshape(-1))
        np.testing.assert_array_equal(second, chunk.indices[:, 5:].reshape(-1))


def sent(group, x, program, training):
    """How many bytes the all-reduce of every step is given: steps that are recorded, compared, replayed."""
    given, all_reduce = [], torch.distributed.all_reduce

    def noted(flat, **options):
        given.append(flat.numel() * flat.element_size())
        return all_reduce(flat, **options)

    torch.distributed.all_reduce = noted
    return pyro_impl.fit(x, program, training, group=group), given


def test_one_sum_a_step_of_the_gradients_and_the_loss(problem):
    x, program, params = problem(N, missing=0.2, learned=ALL)
    numbers = sum(np.size(values) for values in params.values())
    for _, given in in_group(2, sent, x, program, config(steps=12, batch_size=B)):
        assert given == [8 * (numbers + 1)] * 12


def refusals(group, x, program):
    """What is said of a batch that is too small, of other arguments, and of a row of rank 1."""
    rank, said = torch.distributed.get_rank(group), []
    broken = x.copy()
    broken[-1, 0] = np.inf
    for given in (
        (x, program, config(batch_size=1)),
        (x, program, config(seed=rank)),
        (broken, program, config()),
    ):
        with pytest.raises(InputError) as refused:
            pyro_impl.Trainer(*given, group=group)
        said.append(str(refused.value))
    return said


def test_what_a_group_cannot_train_all_its_processes_refuse(problem):
    x, program, _ = problem(TWELVE)
    first, second = in_group(2, refusals, x, program)
    assert first == second
    assert "batch_size is 1 and 2 processes share it" in first[0]
    assert "rank 1 was given another training than that of rank 0" in first[1]
    assert "row 12, column 1" in first[2]
