"""A reference program without a framework: its configuration and the numbers that are not trained."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from twinplate.data.blocks import Rows, blocks
from twinplate.data.statistics import Statistics, read_statistics
from twinplate.errors import InputError
from twinplate.programs.config import LEARNABLE, ProgramConfig
from twinplate.programs.linear_gaussian import LinearGaussian
from twinplate.words import counted

Array = npt.NDArray[np.float64]
Params = dict[str, Array]

# The least noise_scale, as a fraction of a feature's spread: a learned noise that could shrink to zero on a
# feature that is fitted exactly would make the likelihood infinite.
NOISE_FLOOR = 0.01


@dataclass(frozen=True, eq=False, repr=False)
class ReferenceProgram:
    """A model and a guide before any framework: their configuration, and the numbers that are not trained.

    start: the fixed generative parameters, and the first values of those that are learned. The fitted ones
        are in what `fit` returns.
    center, spread: (D,), mean and standard deviation of each feature; the encoder sees
        `(x - center) / spread`.

    Usually made by `make_program`; both twins' `build`, `fit` and `posterior` take it. Raises InputError if
    the loadings are not (D, K).

    >>> import numpy as np
    >>> from twinplate import LinearGaussian, ProgramConfig, ReferenceProgram
    >>> model = LinearGaussian(loadings=[[1.0], [2.0]])
    >>> program = ReferenceProgram(ProgramConfig(2, 1), model, center=np.zeros(2), spread=np.ones(2))
    >>> sorted(program.fixed)
    ['center', 'intercept', 'loadings', 'loc', 'noise_scale', 'scale', 'spread']
    """

    config: ProgramConfig
    start: LinearGaussian
    center: Array
    spread: Array

    def __post_init__(self) -> None:
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
        """The generative parameters that are learned rather than fixed, of `LEARNABLE`."""
        return self.config.learned or ()

    @property
    def fixed(self) -> Params:
        """All numbers of the program by name, for a file; `from_fixed` reads them again."""
        return {**self.start.as_dict(), "center": self.center, "spread": self.spread}

    @classmethod
    def from_fixed(cls, config: ProgramConfig, fixed: Params) -> ReferenceProgram:
        """The inverse of `fixed`."""
        names = ("loadings", "intercept", "noise_scale", "loc", "scale")
        start = LinearGaussian(**{name: fixed[name] for name in names})
        return cls(config, start, fixed["center"], fixed["spread"])


def make_program(
    x: npt.ArrayLike,
    config: ProgramConfig,
    generative: LinearGaussian | None = None,
    *,
    statistics: Statistics | None = None,
    progress: Rows | None = None,
) -> ReferenceProgram:
    """The program of `config` for data `x` (N, D), NaN where missing; a memory map is read in blocks.

    generative: the fixed generative parameters, and the first values of those that `config` says are
        learned; unless it says, none are. Without it, all start from the principal components of `x`, as
        `principal_start` says, and are learned unless `config` says otherwise.
    statistics: of `x`, where they are known (`twinplate.data.statistics.read_statistics`); they save a pass
        over the data.
    progress: called with the rows read so far and the rows in all, in each pass over the data.

    Raises InputError if `x` is not (N, D), or `generative` or `statistics` do not fit to it.

    >>> import numpy as np
    >>> from twinplate import ProgramConfig, make_program
    >>> x = np.random.default_rng(0).normal(size=(20, 3))
    >>> program = make_program(x, ProgramConfig(num_features=3, num_components=2))
    >>> program.start.loadings.shape, program.spread.shape
    ((3, 2), (3,))
    >>> program.learned
    ('loadings', 'intercept', 'noise_scale')
    """
    x = np.asarray(x)
    if x.ndim != 2 or x.shape[1] != config.num_features:
        raise InputError(f"x has shape {x.shape}; expected (N, {config.num_features})")
    if statistics is not None and statistics.num_items != len(x):
        raise InputError(
            f"statistics are of {counted(statistics.num_items, 'item')}; expected those of x, {len(x)}"
        )
    units = statistics or read_statistics(x, progress)
    if generative is None:
        generative = _principal(x, config.num_components, units, progress)
        config = replace(config, learned=LEARNABLE) if config.learned is None else config
    return ReferenceProgram(config, generative, units.mean, units.spread)


def principal_start(x: npt.ArrayLike, num_components: int) -> LinearGaussian:
    """Loadings, intercept and noise from the leading K principal components of `x` (N, D).

    The loadings are those of probabilistic PCA (Tipping and Bishop, 1999) for standardised features with
    missing entries at their mean. The noise is what the loadings leave of each feature's variance. Where
    the residual is isotropic this is the maximum of the likelihood; elsewhere it is a good start. The
    largest loading of each component is positive.

    Raises InputError if K exceeds min(N, D).
    """
    x = np.asarray(x)
    return _principal(x, num_components, read_statistics(x))


def _principal(
    x: np.ndarray, num_components: int, units: Statistics, progress: Rows | None = None
) -> LinearGaussian:
    limit = min(x.shape)
    if num_components > limit:
        raise InputError(
            f"num_components is {num_components}; expected 1 to min(items, features) = {limit}"
        )
    center, spread = units.mean, units.spread
    moment = np.zeros((x.shape[1], x.shape[1]))
    for _, block in blocks(x, progress):
        z = np.nan_to_num((block - center) / spread)
        moment += z.T @ z
    variances, directions = (part[..., ::-1] for part in np.linalg.eigh(moment / len(x)))
    directions = directions[:, :num_components]
    directions = directions * np.sign(_largest(directions))
    rest = variances[num_components:].sum() / max(x.shape[1] - num_components, 1)
    loadings = directions * np.sqrt(np.maximum(variances[:num_components] - rest, 1e-4))
    residual = np.sqrt(np.maximum(1.0 - np.sum(loadings**2, axis=1), (2 * NOISE_FLOOR) ** 2))
    return LinearGaussian(spread[:, None] * loadings, center, spread * residual)


def _largest(columns: Array) -> Array:
    """The entry of largest size of each column."""
    return columns[np.argmax(np.abs(columns), axis=0), np.arange(columns.shape[1])]
