"""A reference program without a framework: its configuration and the numbers that are not trained."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from twinplate.data.blocks import Rows
from twinplate.data.columns import default_name, listed
from twinplate.data.frames import aligned, to_frame
from twinplate.data.statistics import Statistics, read_statistics
from twinplate.data.stored import Matrix, Stored, matrix_of
from twinplate.errors import InputError
from twinplate.programs.config import ProgramConfig, learnable
from twinplate.programs.count_start import count_start, feature_means, working_model
from twinplate.programs.generalised_linear import GeneralisedLinear
from twinplate.programs.linear_gaussian import LinearGaussian
from twinplate.programs.offsets import offsets_of
from twinplate.programs.start import likely_start
from twinplate.words import counted

Array = npt.NDArray[np.float64]
Params = dict[str, Array]

PERHAPS = ("width", "concentration", "means", "offset_units")  # that not all programs have


@dataclass(frozen=True, eq=False, repr=False)
class ReferenceProgram:
    """A model and a guide before any framework: their configuration, and the numbers that are not trained.

    start: the fixed generative parameters, and the first values of those that are learned. The fitted ones
        are in what `fit` returns.
    center, spread: (D,), mean and standard deviation of each feature; the encoder sees
        `(x - center) / spread`. Of other data than normal ones they are those of the working variable
        (`twinplate.programs.likelihood`), of which `start` then has the noise.
    unit: (D,), in which loadings and intercept are learned; by default the spread.
    width: (K,), of the posterior at `start`, in units of which the guide is learned, and from which it
        starts. None where it is not known: the guide then starts near the standard normal.

    features: names of the D features, where they are known. Frames are taken by them.
    concentration: (D,), of the negative binomial, fixed or the first value; else None.
    means: (D,), of the counts, over which those of an item are its offset
        (`twinplate.programs.offsets`); None where offsets are given or there are none.
    offset_units: (2,), mean and standard deviation of the logarithms of the offsets.

    Usually made by `make_program`; both twins' `build`, `fit` and `posterior` take it. Raises InputError if
    the loadings are not (D, K).

    >>> import numpy as np
    >>> from twinplate import LinearGaussian, ProgramConfig, ReferenceProgram
    >>> model = LinearGaussian(loadings=[[1.0], [2.0]])
    >>> program = ReferenceProgram(ProgramConfig(2, 1), model, center=np.zeros(2), spread=np.ones(2))
    >>> sorted(program.fixed)
    ['center', 'intercept', 'loadings', 'loc', 'noise_scale', 'scale', 'spread', 'unit']
    """

    config: ProgramConfig
    start: LinearGaussian
    center: Array
    spread: Array
    unit: Array = None  # type: ignore[assignment]  # an array once it is made
    width: Array | None = None
    features: tuple[str, ...] = ()
    concentration: Array | None = None
    means: Array | None = None
    offset_units: Array | None = None

    def __post_init__(self) -> None:
        if self.unit is None:
            object.__setattr__(self, "unit", self.spread)
        expected = (self.config.num_features, self.config.num_components)
        if self.config.learned is None:  # all are given
            object.__setattr__(self, "config", replace(self.config, learned=()))
        if self.start.loadings.shape != expected:
            raise InputError(
                f"loadings has shape {self.start.loadings.shape}; expected "
                f"(num_features, num_components) = {expected}"
            )

    def __repr__(self) -> str:
        return f"ReferenceProgram({self.config})"

    @property
    def learned(self) -> tuple[str, ...]:
        """The generative parameters that are learned rather than fixed."""
        return self.config.learned or ()

    @property
    def fixed(self) -> Params:
        """All numbers of the program by name, for a file; `from_fixed` reads them again."""
        known = {"center": self.center, "spread": self.spread, "unit": self.unit}
        perhaps = {name: getattr(self, name) for name in PERHAPS}
        return self.start.as_dict() | known | {n: v for n, v in perhaps.items() if v is not None}

    @classmethod
    def from_fixed(cls, config: ProgramConfig, fixed: Params) -> ReferenceProgram:
        """The inverse of `fixed`."""
        names = ("loadings", "intercept", "noise_scale", "loc", "scale")
        start = LinearGaussian(**{name: fixed[name] for name in names})
        units = fixed["center"], fixed["spread"], fixed["unit"]
        perhaps: dict[str, Any] = {name: fixed.get(name) for name in PERHAPS}
        return cls(config, start, *units, **perhaps)

    @property
    def working(self) -> LinearGaussian:
        """The linear-Gaussian model whose posterior the guide starts at, of the working variable."""
        if self.config.likelihood == "normal":
            return self.start
        return working_model(self.start, self.center)

    def offsets_of(self, x: Matrix, offsets: Any = None) -> Array | None:
        """The offsets (N,) of the items `x` (N, D); None where the program has none.

        offsets: given ones. Raises InputError where they are missing, unwanted, or no N positive numbers.
        """
        return offsets_of(self.config, self.means, x, offsets)


def make_program(
    x: npt.ArrayLike | Stored,
    config: ProgramConfig,
    generative: LinearGaussian | GeneralisedLinear | None = None,
    *,
    offsets: Any = None,
    statistics: Statistics | None = None,
    progress: Rows | None = None,
) -> ReferenceProgram:
    """The program of `config` for data `x` (N, D), NaN where missing; what is on disk is read in blocks.

    x: an array, or a frame or another matrix with names (`twinplate.data.frames`), which the program keeps.
    generative: the fixed generative parameters, and the first values of those that `config` says are
        learned; unless it says, none are. Without it, all are at maximum likelihood, as
        `twinplate.programs.start` says, and are learned unless `config` says otherwise. The guide starts at
        the posterior of either.
    statistics: of `x`, where they are known (`twinplate.data.statistics.read_statistics`); they save a pass
        over the data.
    offsets: (N,), positive, of the items of counts; by default what `config.offset` says.
    progress: called with the rows read so far and the rows in all, in each pass over the data.

    Warns of features that have one value alone: without `generative` their noise is at its floor.
    Raises InputError if `x` is not (N, D), has a feature without any entry or an entry that cannot be under
    the likelihood, or if `generative`, `offsets` or `statistics` do not fit to it.

    >>> import numpy as np
    >>> from twinplate import ProgramConfig, make_program
    >>> x = np.random.default_rng(0).normal(size=(20, 3))
    >>> program = make_program(x, ProgramConfig(num_features=3, num_components=2))
    >>> program.start.loadings.shape, program.spread.shape
    ((3, 2), (3,))
    >>> program.learned
    ('loadings', 'intercept', 'noise_scale')
    """
    frame, offsets = to_frame(x), aligned(offsets, x)
    features = () if frame is None else frame.columns
    x = matrix_of(x if frame is None else frame.x)
    if x.ndim != 2 or x.shape[1] != config.num_features:
        raise InputError(f"x has shape {x.shape}; expected (N, {config.num_features})")
    if statistics is not None and statistics.num_items != len(x):
        raise InputError(
            f"statistics are of {counted(statistics.num_items, 'item')}; expected those of x, {len(x)}"
        )
    units = statistics or read_statistics(x, progress)
    observed = units.observed / len(x)
    if not observed.all():
        names = _names(units, features)
        empty = [names[j] for j in np.flatnonzero(observed == 0)]
        raise InputError(
            f"x has no entry in {listed(empty)}; leave out features that nobody measured"
        )
    _check_units(units, features)
    if config.likelihood != "normal":
        return _of_counts(x, config, generative, offsets, features, progress)
    if offsets is not None:
        raise InputError(
            "offsets are given with likelihood 'normal'; expected none: offsets are for counts"
        )
    if isinstance(generative, GeneralisedLinear):
        raise InputError(
            f"generative has likelihood {generative.likelihood!r} and the program 'normal'; expected one"
        )
    if generative is not None:
        given = ReferenceProgram(config, generative, units.mean, units.spread, features=features)
        return replace(given, width=generative.conditional_scales(observed))
    _tell_of_constants(units, features)
    start = likely_start(x, config.num_components, units, progress)
    width = start.conditional_scales(observed)
    if config.amplitude_scale is not None:
        # The loadings of an amplitude of 1: E[amplitude²] = exp(2 s²) has multiplied their squares.
        shrunk = start.loadings * np.exp(-(config.amplitude_scale**2))
        start = LinearGaussian(shrunk, start.intercept, start.noise_scale)
    config = replace(config, learned=learnable("normal")) if config.learned is None else config
    return ReferenceProgram(
        config, start, units.mean, units.spread, start.noise_scale, width, features
    )


def _of_counts(
    x: Matrix,
    config: ProgramConfig,
    generative: LinearGaussian | GeneralisedLinear | None,
    offsets: Any,
    features: tuple[str, ...],
    progress: Rows | None,
) -> ReferenceProgram:
    """The program of a likelihood other than the normal one."""
    likelihood = config.likelihood
    if isinstance(generative, LinearGaussian) or (
        generative is not None and generative.likelihood != likelihood
    ):
        raise InputError(
            f"generative is a {type(generative).__name__} of another likelihood than {likelihood!r}; "
            f"expected GeneralisedLinear({likelihood!r}, loadings, ...)"
        )
    if offsets is not None and config.has_offsets:
        config = replace(config, offset="given")
    names = learnable(likelihood) if generative is None else ()
    config = replace(config, learned=names) if config.learned is None else config
    means = feature_means(x) if config.offset == "total" else None
    found = offsets_of(config, means, x, offsets)
    begin = count_start(x, likelihood, config.num_components, found, generative, progress, features)
    units = begin.units
    width = begin.model.conditional_scales(units.observed / len(x))
    if found is not None:
        logs = np.log(found)
        apart = float(logs.std())
        offset_units = np.array([logs.mean(), apart if apart > 1e-6 else 1.0])
    return ReferenceProgram(
        config,
        begin.model,
        units.mean,
        units.spread,
        begin.model.noise_scale if generative is None else np.ones(config.num_features),
        width,
        features,
        begin.concentration,
        means,
        None if found is None else offset_units,
    )


def _names(units: Statistics, features: tuple[str, ...]) -> tuple[str, ...]:
    """Of all features; "column 1", ... where they have none."""
    return features or tuple(map(default_name, range(len(units.mean))))


def _check_units(units: Statistics, features: tuple[str, ...]) -> None:
    """Raise InputError for infinite entries, and for features whose variance is no number of float64."""
    names = _names(units, features)
    if units.infinite.count:
        row, column = units.infinite.first
        raise InputError(
            f"x holds {counted(units.infinite.count, 'infinite entry', 'infinite entries')}, the first in "
            f"row {row + 1}, {names[column]}; expected finite numbers, NaN where missing"
        )
    least, variance = np.finfo(np.float64).tiny, units.variance
    held = units.constant | (np.isfinite(variance) & (variance >= least))
    if not held.all():
        wrong = listed([names[j] for j in np.flatnonzero(~held)], most=5)
        raise InputError(
            f"the variance of {wrong} of x is no number of float64; expected standard "
            "deviations of 1e-154 to 1e154: give features other units"
        )


def _tell_of_constants(units: Statistics, features: tuple[str, ...]) -> None:
    where = np.flatnonzero(units.constant)
    if len(where):
        names = _names(units, features)
        have = "has" if len(where) == 1 else "have"
        warnings.warn(
            f"{counted(len(where), 'feature')} of x {have} the same value in every item "
            f"({listed([names[j] for j in where])}): that tells nothing of the components and adds a "
            "constant to the log evidence; leave such columns out",
            stacklevel=3,
        )
