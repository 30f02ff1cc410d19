"""Fit a program: mini-batches, Adam under a cosine schedule, losses per item.

Steps are those of `pyro_impl.CompiledSVI`: replayed, or machine code. With `compiled=False` they are what
Pyro and torch do by themselves, which is the reference. Between two chunks of steps the losses come back
from the device. The state before a chunk is kept, to fall back on if the chunk goes wrong.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pyro
import torch
from pyro.params.param_store import StateDict
from torch import Tensor
from torch.distributed import ProcessGroup

from pyro_impl.compiled.errors import EagerWarning
from pyro_impl.device import DTYPES, find_device, memory, to_tensor
from pyro_impl.objectives.item_blocks import MOST_REPLAYED
from pyro_impl.objectives.losses import make_loss
from pyro_impl.programs.assembly import build
from pyro_impl.programs.parameters import leaves as parameter_leaves
from pyro_impl.training.carry import to_carry, to_state
from pyro_impl.training.groups import reduction_of, workers_of
from pyro_impl.training.stepping import Stepping
from twinplate.data.stored import Matrix
from twinplate.programs.config import ESTIMATORS, TrainingConfig
from twinplate.programs.offsets import with_offsets
from twinplate.programs.program import ReferenceProgram
from twinplate.seeds import generator
from twinplate.training.errors import (
    is_out_of_memory,
    non_finite_loss,
    out_of_memory,
    process_lost,
    room_for,
)
from twinplate.training.loop import train
from twinplate.training.net import Attempt, Net, take
from twinplate.training.plan import Chunk, average_weight
from twinplate.training.preparation import prepare
from twinplate.training.shares import LostProcessError
from twinplate.training.state import Fit, Progress, TrainingState
from twinplate.training.step_size import rate_shares
from twinplate.words import counted


def fit(
    x: Matrix,
    program: ReferenceProgram,
    training: TrainingConfig,
    *,
    a: np.ndarray | None = None,
    offsets: np.ndarray | None = None,
    state: TrainingState | None = None,
    matched: bool = False,
    compiled: bool = True,
    machine_code: bool | int = False,
    group: ProcessGroup | None = None,
    progress: Progress | None = None,
) -> Fit:
    """Train `program` on `x` (N, D), NaN where missing, for `training.steps` steps in all.

    x: an array, which goes to the device as a whole, or a memory map (`np.load` with `mmap_mode="r"`), of
        which the mini-batches of the next chunk are read while the steps of one are taken. Or a frame, whose
        columns are found by the names in `program` (`twinplate.data.frames`).
    a: pairs (K, N) for the objective "pairs".
    offsets: (N,), positive, of the items of counts; by default what the program says
        (`twinplate.programs.offsets`).
    state: that of a run to go on with, such as `Fit.state`; by default a run starts from the initial
        parameters of `training.seed`.
    matched: take the base noise from `twinplate.seeds`, the same numbers in both twins, instead of
        torch's generator. Initial parameters and mini-batches are the same in any case.
    compiled: whether steps are replayed, as `CompiledSVI` does it. False leaves them to Pyro and torch; the
        result is the same to the bit. What cannot be replayed, and a mini-batch that the memory holds only
        in more than 16 blocks of items, runs eagerly with an EagerWarning that says why.
    machine_code: the number of the step, counted from 1, from which on steps are machine code, or True for
        the first possible one. The step is compiled meanwhile, and waited for (`CompiledSVI`); results differ
        by rounding from then on. A run that ends before compiles nothing.
    group: processes of `torch.distributed` that take each mini-batch together, all with the same arguments:
        each its part of the items and of their noise. Losses and parameters are the same in all, and but for
        rounding those of one process (docs/scaling.md).
    progress: called after every chunk, with the number of the steps done and the chunk's losses per item.

    On one CPU with a fixed number of threads the result is the same to the bit for equal arguments.
    The caller's parameter store is left as it was. Raises InputError for arguments that do not fit,
    and the TrainingErrors of `Trainer.run`.

    >>> import numpy as np
    >>> from pyro_impl import fit
    >>> from twinplate import ProgramConfig, TrainingConfig, make_program
    >>> x = np.random.default_rng(0).normal(size=(20, 3))
    >>> program = make_program(x, ProgramConfig(num_features=3, num_components=2))
    >>> training = TrainingConfig(steps=2, batch_size=10, device="cpu")
    >>> fit(x, program, training).losses.shape
    (2,)
    """
    trainer = Trainer(
        *(x, program, training),
        a=a,
        offsets=offsets,
        state=state,
        matched=matched,
        compiled=compiled,
        machine_code=machine_code,
        group=group,
    )
    return train(trainer, trainer.plan(), progress)


class Trainer:
    """A program in training, one chunk of steps after the other; `fit` takes all of them.

    Arguments as for `fit`.
    `plan` makes the chunks. Where `x` is on disk, those of another plan may be too long for the trainer.

    >>> import numpy as np
    >>> from pyro_impl import Trainer
    >>> from twinplate import ProgramConfig, TrainingConfig, make_program
    >>> x = np.random.default_rng(0).normal(size=(20, 3))
    >>> program = make_program(x, ProgramConfig(num_features=3, num_components=2))
    >>> training = TrainingConfig(steps=2, batch_size=10, device="cpu")
    >>> trainer = Trainer(x, program, training, compiled=False)
    >>> for chunk in trainer.plan():
    ...     losses = trainer.run(chunk)
    >>> trainer.state.step
    2
    """

    def __init__(
        self,
        x: Matrix,
        program: ReferenceProgram,
        training: TrainingConfig,
        *,
        a: np.ndarray | None = None,
        offsets: np.ndarray | None = None,
        state: TrainingState | None = None,
        matched: bool = False,
        compiled: bool = True,
        machine_code: bool | int = False,
        group: ProcessGroup | None = None,
    ) -> None:
        workers = workers_of(group)
        self._prepared = prepare(
            *(x, program, training),
            a=a,
            offsets=offsets,
            state=state,
            matched=matched,
            workers=workers,
        )
        training = self._prepared.training
        self.program, self.training = program, training
        self._device, self._dtype = find_device(training.device), DTYPES[training.precision]
        self._at_once = self._prepared.items_at_once(memory(self._device))
        shared = self._prepared.shared
        blocks = -(-shared // self._at_once)
        if compiled and blocks > MOST_REPLAYED:
            compiled = False
            items = counted(self._at_once, "item")
            warnings.warn(
                f"training runs eagerly: the memory holds {items} at once of the mini-batches of {shared}, "
                f"and steps in more than {MOST_REPLAYED} blocks, here {blocks}, are not replayed; give a "
                "smaller batch_size, or compiled=False to be told no more",
                EagerWarning,
                stacklevel=2,
            )
        self._place_data()
        self._place_state()
        self._stepping = Stepping(
            self._prepared,
            self._pair,
            self._carry,
            self._data,
            self._pairs,
            self._at_once,
            compiled,
            machine_code,
            reduction_of(group, self._prepared, self._carry),
        )
        self._net = Net(self._prepared.state.limits)

    def _place_data(self) -> None:
        """All data on the device, or as much as the mini-batches of a chunk of data on disk will take."""
        run, a = self._prepared, self._prepared.a
        x = run.x if run.streamed else run.rows
        if run.streamed:
            # Room for the mini-batches of a chunk, which the steps read as if they were all data. Compiled
            # steps are bound to these tensors, so every chunk is copied into them.
            rows = run.length * run.shared
            first = with_offsets(x[:1], None if run.offsets is None else run.offsets[:1])
            x = np.repeat(np.array(first, np.float64), rows, axis=0)
            a = None if a is None else np.repeat(np.array(a[:, :1], np.float64), rows, axis=1)
        with room_for(x):
            self._data = self._to_tensor(np.asarray(x))
            self._pairs = None if a is None else self._to_tensor(a)

    def _place_state(self) -> None:
        """Parameters, average and Adam's moments on the device, as the state says that they are."""
        run, state = self._prepared, self._prepared.state
        self._store: StateDict = {"params": {}, "constraints": {}}
        with self._world(validated=True):
            self._pair = build(run.program, state.params, self._dtype, self._device, run.complete)
            self._create_parameters()
            leaves = parameter_leaves()
        shares = rate_shares(run.program)
        self._carry = to_carry(state, leaves, shares, self._dtype, self._device)

    def _to_tensor(self, values: np.ndarray) -> Tensor:
        return to_tensor(values, self._dtype, self._device)

    @property
    def state(self) -> TrainingState:
        """Everything that the next step depends on, copied from the device."""
        return to_state(self._carry, self._net.limits)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done where training would have gone astray, and since when steps are machine code."""
        of_steps = (note for svi in self._stepping.svis for note in svi.notes)
        return (*self._net.notes, *of_steps)

    @property
    def compile_seconds(self) -> float:
        """Seconds spent so far on tracing and compiling."""
        return sum(svi.compile_seconds for svi in self._stepping.svis)

    def plan(self) -> Iterator[Chunk]:
        """All chunks from the state that training starts from, for `run` to take one after the other."""
        return self._prepared.plan()

    def run(self, chunk: Chunk) -> np.ndarray:
        """Take the steps of `chunk`; their losses per item (steps,).

        Steps that go wrong are taken again, at a lower learning rate (`twinplate.training.net`).
        Raises InputError for a chunk of another plan that there is no room for, and NonFiniteLossError,
        OutOfMemoryError and ProcessLostError, which hold the last good state. Whatever is raised, `state` is
        afterwards that before the chunk.
        """
        self._prepared.check(chunk)
        with self._world():
            rewind, limits = self._carry.rewinding(), self._net.limits

            def attempt(steps: Chunk) -> Attempt:
                rewind()
                return self._advance(steps)

            def replay(head: Chunk) -> TrainingState:
                attempt(head)
                return to_state(self._carry, limits)

            try:
                found = take(self._net, chunk, attempt)
            except BaseException as error:  # an interrupt too: no state is left between two chunks
                rewind()
                if isinstance(error, LostProcessError):
                    raise process_lost(self.training, self.state, str(error)) from error
                if not is_out_of_memory(error):
                    raise
                raise out_of_memory(self.training, self.state, self._at_once) from error
            if not found.finite:
                chunk = self._net.slowed(chunk)
                broken = non_finite_loss(self.training, chunk, found.losses, replay)
                rewind()
                raise broken
            return found.losses

    def _advance(self, chunk: Chunk) -> Attempt:
        """Take the steps of `chunk`."""
        seed = generator(self.training.seed, "torch", chunk.first).integers(2**62)
        torch.manual_seed(int(seed))
        self._fetch(chunk)
        step = self._stepping.of(chunk.estimator)
        carry, device, dtype = self._carry, self._data.device, self._data.dtype
        carry.start_clip()
        share = self._prepared.share
        indices = torch.from_numpy(chunk.places_of(share)).to(device)
        noise = {name: self._to_tensor(v) for name, v in self._prepared.noise(chunk).items()}
        losses = [torch.zeros(0, dtype=dtype, device=device)]
        for i, rate in enumerate(chunk.rates):
            carry.set_rate(float(rate))
            loss = step(indices[i], {name: v[i] for name, v in noise.items()})
            losses.append(torch.as_tensor(loss, dtype=dtype, device=device).reshape(1))
            carry.step += 1
            if weight := average_weight(carry.step):
                carry.take_into_average(weight)
        return self._attempt(torch.cat(losses))

    def _attempt(self, losses: Tensor) -> Attempt:
        """What the steps with these losses came to; the only wait for the device in a chunk."""
        kept = [
            t for t in self._carry.tensors if t.device == losses.device
        ]  # no counters of Adam's
        ends = torch.stack([end for t in kept for end in t.detach().aminmax()])  # nan where one is
        cut = {n: leaf for n, leaf in self._carry.leaves.items() if self._carry.clip.is_cut(leaf)}
        largest = self._carry.clip.largest([*cut.values()])
        everything = (
            torch.cat([losses.double(), ends.double(), largest.T.reshape(-1)]).cpu().numpy()
        )
        parts = np.cumsum([len(losses), len(ends), len(largest)])
        values, edges, times, at = np.split(everything, parts)
        finite = bool(np.isfinite(values).all() and np.isfinite(edges).all())
        per_item = values / len(self._prepared.x)
        return Attempt.of(per_item, finite, [*cut], times, at)

    def _fetch(self, chunk: Chunk) -> None:
        """Put the mini-batches that `chunk` brings along where the steps read the data."""
        if chunk.x is not None:
            self._data[: len(chunk.x)] = self._to_tensor(chunk.x)
        if chunk.a is not None:
            assert self._pairs is not None
            pairs = self._to_tensor(chunk.a)
            self._pairs[:, : pairs.shape[1]] = pairs

    def _create_parameters(self) -> None:
        """Make Pyro create the parameters: by one loss, validated, on a single item."""
        training = replace(self.training, estimator=ESTIMATORS[0])
        pairs = None if self._pairs is None else self._pairs[:, :1]
        make_loss(self._pair, training, len(self._prepared.x))(self._data[:1], pairs, {})

    @contextmanager
    def _world(self, validated: bool = False) -> Iterator[None]:
        """A context in which Pyro's parameter store is this program's, and random numbers are its own.

        Afterwards both are the caller's again, as they were.
        """
        validation = pyro.settings.get("validate_infer") if validated else False
        with (
            pyro.get_param_store().scope(self._store),
            torch.random.fork_rng(),
            pyro.validation_enabled(validation),
            warnings.catch_warnings(),
        ):
            # A loss that is not finite is an error of `run`, which says more than Pyro's warnings.
            warnings.filterwarnings("ignore", message="Encountered (NaN|[+-]inf)")
            yield
