"""A record: what two programs are compared by, in NumPy arrays and plain data.

A record belongs to no framework. It holds every run of one program: for each draw of the latent
values, in double precision, in single precision, and in double precision with inputs changed by a
tiny amount (`PRECISIONS`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from twinplate.errors import InputError
from twinplate.records.arrays import TRUTHS, check_array
from twinplate.records.tensor_file import Json, NamedTensors, read, write
from twinplate.records.typed import check_types

Array = npt.NDArray[Any]

PERTURBATIONS = 3  # how often a draw is run with its inputs changed by a tiny amount
PERTURBED = tuple(f"perturbed{i}" for i in range(PERTURBATIONS))
PRECISIONS = ("float64", "float32", *PERTURBED)
KINDS = ("latent", "observed", "auxiliary", "deterministic", "factor")  # of sites
LOSSES = ("Trace_ELBO", "TraceMeanField_ELBO", "TraceEnum_ELBO", "TraceGraph_ELBO", "RenyiELBO")


@dataclass(frozen=True)
class Plate:
    """A plate around a site: its dim (negative), full size and the size of the subsample in use."""

    name: str
    dim: int
    size: int
    subsample_size: int


@dataclass(frozen=True)
class Site:
    """One site of the model or the guide, for all P particles.

    kind: one of KINDS.
    plates: around the site, sorted by dim; without the plate of particles.
    batch_shape, event_shape: of one particle, the plates' sizes broadcast in.
    support: name of the set of possible values ("real", "positive", …).  family: of the distribution.
    dtype: of the value, as the program made it.
    scale: factor of the log densities: one number, or (P, *batch_shape) where it is a weight of each.
    value: (P, *batch_shape, *event_shape).
    log_prob: (P, *batch_shape), element by element, zero where masked, not scaled.
    mask: True where the element counts, broadcasts to (P, *batch_shape); None where nothing is masked.
    arguments: the distribution's parameters that have a name in both frameworks, broadcasting to
        (P, *batch_shape, …).
    parts: families of the distributions that the site's own is made of, by role: "base" of a zero-inflated
        one, "mixing" and "component" of a mixture. Their parameters are among the arguments, the role in
        front ("component scale"); those of components have a dim for the components behind the batch.
    enumerated: whether the program asks `TraceEnum_ELBO` to sum over the values.
    Where the run stopped early, value and log_prob are None and arguments are empty.
    """

    kind: str
    plates: tuple[Plate, ...]
    batch_shape: tuple[int, ...]
    event_shape: tuple[int, ...]
    support: str
    family: str
    dtype: str
    scale: float | Array
    value: Array | None = None
    log_prob: Array | None = None
    mask: Array | None = None
    arguments: dict[str, Array] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    enumerated: bool = False

    def check(self, name: str, particles: int) -> None:
        """Raise ValueError, for the site `name`, unless kind and arrays are what is said above."""
        if self.kind not in KINDS:
            raise ValueError(f"the site {name!r} is of kind {self.kind!r}; expected one of {KINDS}")
        of, dims = f"of site {name!r}", (particles, *self.batch_shape)
        check_array(f"value {of}", self.value, (*dims, *self.event_shape))
        check_array(f"log_prob {of}", self.log_prob, dims)
        check_array(f"mask {of}", self.mask, dims, TRUTHS, broadcasts=True)
        check_array(f"scale {of}", np.asarray(self.scale), dims, broadcasts=True)
        for argument, values in self.arguments.items():
            check_array(f"argument {argument!r} {of}", values)

    @property
    def scaled(self) -> npt.NDArray[np.float64]:
        """Scaled log densities, (P, *batch_shape), of a run that did not stop early."""
        assert self.log_prob is not None
        return self.scale * as_float(self.log_prob)

    @property
    def total(self) -> npt.NDArray[np.float64]:
        """Scaled log density of every particle, (P,), of a run that did not stop early."""
        scaled = self.scaled
        return scaled.reshape(len(scaled), -1).sum(axis=1)


@dataclass(frozen=True)
class Parameter:
    """A learned parameter: its constraint's name, its constrained value, and the loss's gradient.

    The gradient is taken in the unconstrained coordinates of the map that the name stands for
    ("positive": exp, "softplus_positive": softplus, "simplex": softmax, "lower_cholesky": exp on the
    diagonal of a matrix, …), and has the shape of the value; None where the run stopped early.
    """

    constraint: str
    value: Array
    gradient: Array | None = None


@dataclass(frozen=True)
class Failure:
    """Where and why a run stopped: stage "build", "guide", "model" or "loss"; the site it had reached.

    error: the exception's class and text.  traceback: its frames in the user's own files.
    """

    stage: str
    site: str | None
    error: str
    traceback: str


@dataclass(frozen=True)
class Run:
    """One execution of guide, model, loss and gradient with given draws.

    guide, model: sites by name, in execution order.  parameters: by name.
    loss: (P,) one for each particle, (1,) for vectorised particles and RenyiELBO; without a guide its
        potential energy.  With no guide the gradient of the potential in every latent's unconstrained
        value appears among the parameters, under the site's name and constraint "unconstrained".
    """

    guide: dict[str, Site] = field(default_factory=dict)
    model: dict[str, Site] = field(default_factory=dict)
    parameters: dict[str, Parameter] = field(default_factory=dict)
    loss: Array | None = None
    failure: Failure | None = None

    def check(self, settings: Settings) -> None:
        """Raise ValueError unless the arrays are those of a run with such settings."""
        together = settings.vectorize_particles or settings.loss == "RenyiELBO"
        check_array("loss", self.loss, (1 if together else settings.particles,))
        for name, site in (*self.guide.items(), *self.model.items()):
            site.check(name, settings.particles)
        for name, one in self.parameters.items():
            check_array(f"value of parameter {name!r}", one.value)
            check_array(f"gradient of parameter {name!r}", one.gradient, one.value.shape)


@dataclass(frozen=True)
class Given:
    """What a run is given: values of latent sites, subsample indices, constrained parameters.

    draws: (P, *batch_shape, *event_shape) by site.  indices: (subsample_size,) by plate.
    """

    draws: dict[str, Array] = field(default_factory=dict)
    indices: dict[str, Array] = field(default_factory=dict)
    parameters: dict[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """How a program is recorded: each of `seeds` gives a draw of that name, `stress` one named "stress".

    alpha: the order of RenyiELBO; other losses have none.
    """

    loss: str = "Trace_ELBO"
    particles: int = 1
    vectorize_particles: bool = False
    seeds: tuple[int, ...] = (0, 1, 2)
    stress: bool = True
    alpha: float = 0.0

    @property
    def draws(self) -> dict[str, int]:
        """Seed of every draw by its name; the stress draw starts from the first seed."""
        named = {str(seed): seed for seed in self.seeds}
        return {**named, "stress": self.seeds[0]} if self.stress else named


@dataclass(frozen=True)
class Record:
    """All runs of one program.

    framework: "pyro" or "numpyro".  versions: of everything that made it.
    inputs: the arrays among the arguments, by path.  runs: by (draw, precision).
    given: values, indices and parameters by draw, in the *first* program's names.
    names: this program's own names of what it calls otherwise than the program it was recorded like.
    operations: names of the numerical functions it calls, for explanations.
    untransposed: where it differs from the program it was recorded like, such as "model y", but does not with
        a square matrix transposed: that matrix's name.
    starts: first values of its parameters, constrained, by the names of the program it was recorded like.

    >>> import pyro, pyro.distributions as dist
    >>> from pyro_impl import Program
    >>> from twinplate import Record
    >>> def model():
    ...     pyro.sample("z", dist.Normal(0.0, 1.0))
    >>> Program(model).record().save("model.record")
    >>> record = Record.load("model.record")
    >>> record.runs["0", "float64"].model["z"].support
    'real'
    """

    framework: str
    versions: dict[str, str]
    settings: Settings
    inputs: dict[str, Array]
    runs: dict[tuple[str, str], Run]
    given: dict[str, Given]
    names: dict[str, str] = field(default_factory=dict)
    operations: tuple[str, ...] = ()
    untransposed: dict[str, str] = field(default_factory=dict)
    starts: dict[str, Array] = field(default_factory=dict)

    @property
    def has_guide(self) -> bool:
        """Whether the program has a guide."""
        return any(run.guide for run in self.runs.values())

    @property
    def failure(self) -> Failure | None:
        """The first failure, in the order of runs."""
        return next((run.failure for run in self.runs.values() if run.failure), None)

    def save(self, path: Path | str) -> None:
        """Write to the new file `path`, whole or not at all; docs/records.md has the format.

        Raises InputError where `path` exists or cannot be written.
        """
        tensors = NamedTensors()
        runs: Json = {}  # by draw, then by precision: JSON has no pairs as keys
        for (draw, precision), run in self.runs.items():
            runs.setdefault(draw, {})[precision] = tensors.named(run)
        rest = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "runs"}
        write(Path(path), {**tensors.named(rest), "runs": runs}, tensors)

    @classmethod
    def load(cls, path: Path | str) -> Record:
        """Read a file that `save` wrote, whatever framework it is of.

        Raises InputError for a file that is missing, truncated, no record, or of another format version.
        """
        described, tensors = read(Path(path))
        try:
            record = _Reader(tensors).record(described)
            check_types(record, cls)
            record._check()
            return record
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"{path} is damaged: its header does not describe a record ({error!r}). Restore it from "
                "a copy, or record the program again."
            ) from error

    def _check(self) -> None:
        """Raise ValueError unless every draw has its run, and kinds and shapes are as they should be."""
        missing = [draw for draw in self.settings.draws if (draw, "float64") not in self.runs]
        shapes = {run.loss.shape for run in self.runs.values() if run.loss is not None}
        if missing or len(shapes) > 1:
            raise ValueError(f"draws without a run: {missing}; shapes of losses: {sorted(shapes)}")
        for run in self.runs.values():
            run.check(self.settings)


def as_float(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Double precision copy of numbers or truth values."""
    return np.asarray(values, dtype=np.float64)


class _Reader:
    """Builds a record from its JSON data, in which an array is the name of one of `tensors`."""

    def __init__(self, tensors: Mapping[str, Array]) -> None:
        self._tensors = tensors

    def record(self, data: Json) -> Record:
        runs = {
            (draw, precision): self._run(run)
            for draw, precisions in data["runs"].items()
            for precision, run in precisions.items()
        }
        settings = Settings(**data["settings"] | {"seeds": tuple(data["settings"]["seeds"])})
        given = {draw: self._given(values) for draw, values in data["given"].items()}
        built = {"settings": settings, "runs": runs, "given": given}
        built |= {name: self._arrays(data.get(name, {})) for name in ("inputs", "starts")}
        return Record(**data | built | {"operations": tuple(data["operations"])})

    def _run(self, data: Json) -> Run:
        return Run(
            {name: self._site(site) for name, site in data["guide"].items()},
            {name: self._site(site) for name, site in data["model"].items()},
            {name: self._parameter(p) for name, p in data["parameters"].items()},
            self._array(data["loss"]),
            Failure(**data["failure"]) if data["failure"] else None,
        )

    def _site(self, data: Json) -> Site:
        built: Json = {name: self._array(data[name]) for name in ("value", "log_prob", "mask")}
        built |= {name: tuple(data[name]) for name in ("batch_shape", "event_shape")}
        built["plates"] = tuple(Plate(**plate) for plate in data["plates"])
        if isinstance(data["scale"], str):
            built["scale"] = self._tensors[data["scale"]]
        return Site(**data | built | {"arguments": self._arrays(data["arguments"])})

    def _parameter(self, data: Json) -> Parameter:
        value, gradient = self._tensors[data["value"]], self._array(data["gradient"])
        return Parameter(data["constraint"], value, gradient)

    def _given(self, data: Json) -> Given:
        return Given(**{name: self._arrays(arrays) for name, arrays in data.items()})

    def _arrays(self, names: dict[str, str]) -> dict[str, Array]:
        return {key: self._tensors[name] for key, name in names.items()}

    def _array(self, name: str | None) -> Array | None:
        return None if name is None else self._tensors[name]
