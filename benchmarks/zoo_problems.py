"""A zoo of 280 factor-analysis problems, twenty of each kind, from stated seeds.

Half the kinds are *healthy*: the model draws the data, at ordinary noise. The others are *sick*: noise
close to nothing, heavy tails, far outliers, columns of very different scale, loadings that are nearly
collinear, counts, several of these at once. `development()` may be looked at while remedies are chosen;
`held_out()` is for the end. Sixteen of each kind learn loadings, intercept and noise; four have them
given, those that made the data as far as a linear-Gaussian model can have made them.

    problem = quick()[0]
    x = problem.data()  # (N, D), NaN where missing
    program = problem.program(x)  # for `fit` of either twin
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from twinplate.programs.config import ProgramConfig
from twinplate.programs.linear_gaussian import Array, LinearGaussian
from twinplate.programs.program import ReferenceProgram, make_program
from twinplate.seeds import generator

SEED = 16  # of the zoo; of each problem: SEED, the kind and its number
OF_A_KIND, LEARNED = 20, 16  # problems, and those of them that learn the loadings
LARGE = (500, 100_000)
TROUBLES = ("tails", "outliers", "scales", "collinear", "missing")


@dataclass(frozen=True)
class Kind:
    """What the problems of a kind have in common. Ranges are of log-uniform numbers, ends included.

    items, features: of N and D.  true: of the number of components that made the data.
    beyond: by how much the number K that is fitted differs from it.
    noise: of the scale of the noise, where loadings are standard normal.  troubles: see `TROUBLES`.
    """

    healthy: bool
    items: tuple[int, int] = (500, 20_000)
    features: tuple[int, int] = (3, 60)
    true: tuple[int, int] = (1, 6)
    beyond: tuple[int, int] = (0, 0)
    noise: tuple[float, float] = (0.3, 1.0)
    troubles: tuple[str, ...] = ()


KINDS = {
    "plain": Kind(True, items=LARGE),
    "over": Kind(True, items=LARGE, features=(6, 60), beyond=(1, 6)),
    "under": Kind(True, features=(6, 60), true=(3, 8), beyond=(-4, -1)),
    "noisy": Kind(True, noise=(1.0, 2.0)),
    "wide": Kind(True, items=(500, 5_000), features=(100, 300), true=(1, 12)),
    "few": Kind(True, items=(200, 400), features=(3, 40)),
    "missing": Kind(True, items=(500, 5_000), features=(6, 40), troubles=("missing",)),
    "precise": Kind(False, noise=(0.01, 0.1), true=(1, 8)),
    "tails": Kind(False, items=LARGE, features=(3, 40), troubles=("tails",)),
    "outliers": Kind(False, features=(3, 40), troubles=("outliers",)),
    "scales": Kind(False, features=(6, 60), troubles=("scales",)),
    "collinear": Kind(False, features=(6, 300), true=(2, 8), troubles=("collinear",)),
    "counts": Kind(False, features=(6, 60), beyond=(0, 2), troubles=("counts",)),
    "mixed": Kind(False, items=(300, 5_000), features=(6, 40), beyond=(-1, 3), troubles=("several",)),
}  # fmt: skip

# Sizes at which training was first seen to diverge, N, D, true, K; such problems cannot be held out.
KNOWN = {
    ("over", 0): (100_000, 30, 2, 4),
    ("over", 2): (100_000, 30, 2, 8),
    ("collinear", 0): (5_000, 300, 6, 6),
}
# Trained for 20,000 steps, besides four of each kind that learn.
LONG = (("over", 16), ("over", 17), ("collinear", 16), ("collinear", 17))
# Kinds of which the quick zoo has a second problem, one that is given its loadings.
QUICK = ("plain", "over", "precise", "tails", "missing", "collinear")


@dataclass(frozen=True)
class Problem:
    """Data and what is fitted to them: `num_components` K, where `true_components` made the data.

    learned: whether loadings, intercept and noise are learned, or given.  noise: its scale, on average.
    long: whether it is one of the sixty that are trained for 20,000 steps too.  half: "development" or
    "held-out".
    """

    name: str
    kind: str
    half: str
    num_items: int
    num_features: int
    num_components: int
    true_components: int
    noise: float
    troubles: tuple[str, ...]
    learned: bool
    long: bool
    seed: int = SEED

    @property
    def healthy(self) -> bool:
        """Whether the data are what the model takes them for."""
        return KINDS[self.kind].healthy

    def data(self) -> Array:
        """`x` (N, D), NaN where missing; the same at every call."""
        return self._simulated()[1]

    def given(self) -> LinearGaussian:
        """The generative parameters of problems that do not learn them, with K components."""
        true = self._simulated()[0]
        more = self.num_components - true.num_components
        if more < 0:  # what is left out becomes noise
            rest = np.square(true.loadings[:, more:]).sum(axis=1)
            noise = np.sqrt(true.noise_scale**2 + rest)
            return LinearGaussian(true.loadings[:, :more], true.intercept, noise)
        shape = (self.num_features, more)
        extra = 0.1 * true.noise_scale[:, None] * self._rng("extra").standard_normal(shape)
        loadings = np.concatenate([true.loadings, extra], axis=1)
        return LinearGaussian(loadings, true.intercept, true.noise_scale)

    def program(self, x: Array) -> ReferenceProgram:
        """What `twinplate fit` makes of `x` by default, with `given()` where nothing is learned."""
        encoder = "experts" if np.isnan(x).any() else "mlp"
        config = ProgramConfig(self.num_features, self.num_components, encoder=encoder)
        return make_program(x, config, None if self.learned else self.given())

    def _rng(self, *words: str) -> np.random.Generator:
        return generator(self.seed, self.name, *words)

    def _simulated(self) -> tuple[LinearGaussian, Array]:
        true = _model(self)
        x = (_counts if "counts" in self.troubles else _continuous)(self, true)
        if "outliers" in self.troubles:
            rng = self._rng("outliers")
            rows = rng.choice(len(x), rng.integers(1, 6), replace=False)
            apart = x[rows] - true.intercept
            x[rows] = true.intercept + 10 ** rng.uniform(1, 4, (len(rows), 1)) * apart
        if "scales" in self.troubles:
            units = 10 ** self._rng("scales").uniform(-4, 4, self.num_features)
            x = units * x
            true = LinearGaussian(
                units[:, None] * true.loadings, units * true.intercept, units * true.noise_scale
            )
        if "missing" in self.troubles:
            rng = self._rng("missing")
            x[rng.random(x.shape) < rng.uniform(0.1, 0.5)] = np.nan
        return true, x


def _model(problem: Problem) -> LinearGaussian:
    """Standard normal loadings; "collinear" ones are one column each, moved by 0.3 % to 10 % of its size."""
    rng, d, k = problem._rng("model"), problem.num_features, problem.true_components
    loadings = rng.standard_normal((d, k))
    if "collinear" in problem.troubles:
        loadings = rng.standard_normal((d, 1)) + 10 ** rng.uniform(-2.5, -1) * loadings
    noise = problem.noise * rng.uniform(0.8, 1.25, d)
    intercept = rng.standard_normal(d)
    if "counts" not in problem.troubles:
        return LinearGaussian(loadings, intercept, noise)
    rates = np.exp(rng.uniform(-0.5, 3.0, d))  # of the counts where a is 0
    return LinearGaussian(0.4 * rates[:, None] * loadings, rates, np.sqrt(rates))


def _continuous(problem: Problem, true: LinearGaussian) -> Array:
    """Normal noise; for "tails" that of Student's t, with 1.2 to 3 degrees of freedom."""
    rng, shape = problem._rng("x"), (problem.num_items, problem.num_features)
    a = rng.standard_normal((problem.num_items, true.num_components))
    if "tails" in problem.troubles:
        noise = rng.standard_t(rng.uniform(1.2, 3.0), shape)
    else:
        noise = rng.standard_normal(shape)
    return a @ true.loadings.T + true.intercept + true.noise_scale * noise


def _counts(problem: Problem, true: LinearGaussian) -> Array:
    """Poisson counts, every second problem's more dispersed (negative binomial)."""
    rng = problem._rng("x")
    a = rng.standard_normal((problem.num_items, true.num_components))
    log_rate = np.log(true.intercept) + a @ (true.loadings / true.intercept[:, None]).T
    rate = np.exp(np.minimum(log_rate, 8.0))
    if rng.integers(2):
        rate = rate * rng.gamma(2.0, 0.5, rate.shape)
    return rng.poisson(rate).astype(np.float64)


def _between(rng: np.random.Generator, ends: tuple[float, float]) -> float:
    """Log-uniform between two positive numbers."""
    return float(np.exp(rng.uniform(*np.log(ends))))


def _problem(kind: str, number: int) -> Problem:
    of, rng = KINDS[kind], generator(SEED, "zoo", kind, number)
    items, features = (round(_between(rng, ends)) for ends in (of.items, of.features))
    most = max(1, (features - 1) // 2)  # few enough for the noise to be told from the components
    true = int(rng.integers(min(of.true[0], most), min(of.true[1], most) + 1))
    fitted = true + int(rng.integers(of.beyond[0], of.beyond[1] + 1))
    components = min(max(fitted, 1), features)
    if (kind, number) in KNOWN:
        items, features, true, components = KNOWN[kind, number]
    troubles = of.troubles
    if "several" in troubles:
        troubles = tuple(rng.permutation(TROUBLES)[: rng.integers(2, 4)].tolist())
    return Problem(
        f"{kind}-{number:02d}-{'learned' if number < LEARNED else 'fixed'}",
        kind,
        "held-out" if number % 2 else "development",
        items,
        features,
        components,
        true,
        0.5 if (kind, number) in KNOWN else _between(rng, of.noise),
        troubles,
        number < LEARNED,
        number < 4 or (kind, number) in LONG,
    )


@cache
def zoo() -> tuple[Problem, ...]:
    """All 280, kind by kind."""
    return tuple(_problem(kind, number) for kind in KINDS for number in range(OF_A_KIND))


def development() -> tuple[Problem, ...]:
    """The half that remedies may be chosen by: every second problem of each kind."""
    return tuple(problem for problem in zoo() if problem.half == "development")


def held_out() -> tuple[Problem, ...]:
    """The half that is run once, at the end."""
    return tuple(problem for problem in zoo() if problem.half == "held-out")


def quick() -> tuple[Problem, ...]:
    """Twenty of the development half: one of each kind that learns, and one of six kinds that does not."""
    names = {f"{kind}-00-learned" for kind in KINDS} | {f"{kind}-16-fixed" for kind in QUICK}
    return tuple(problem for problem in zoo() if problem.name in names)
