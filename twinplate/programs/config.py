"""What is fitted and how: the two configuration objects that both twins read."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from numbers import Integral, Real
from typing import Any

from twinplate.errors import InputError
from twinplate.programs.likelihood import COUNTS, LIKELIHOODS, OFFSETS
from twinplate.words import are, counted

GUIDES = ("diagonal", "event", "auxiliary")
COVARIANCES = ("full", "diagonal", "low-rank")
ENCODERS = ("mlp", "experts")
OBJECTIVES = ("elbo", "simulated", "pairs")
ESTIMATORS = ("base-noise", "analytic-kl", "sticking-the-landing")
PRECISIONS = ("float32", "float64")
DEVICES = ("auto", "cpu", "gpu")
LEARNABLE = ("loadings", "intercept", "noise_scale")  # of the normal likelihood

# guide -> (the model it fits, the covariances it can express)
PAIRS: dict[str, tuple[str, tuple[str, ...]]] = {
    "diagonal": ("component", ("diagonal",)),
    "event": ("event", COVARIANCES),
    "auxiliary": ("component", COVARIANCES),
}
VALID_PAIRS = "component × diagonal, component × auxiliary, event × event"


@dataclass(frozen=True)
class ProgramConfig:
    """Which model and guide, and their sizes.

    num_features: D ≥ 1.  num_components: K ≥ 1.
    guide: "diagonal", "event" or "auxiliary".
    model: "component" or "event". It follows from the guide, so it may be left empty; the valid pairs are
        component × diagonal, component × auxiliary and event × event.
    covariance: of the guide, "full", "diagonal" or "low-rank"; left empty it is "full", and "diagonal" for
        the diagonal guide, which has no other.
    rank: R of a low-rank covariance, 1 ≤ R ≤ K.
    learned: the generative parameters that are learned rather than fixed, of "loadings", "intercept" and
        "noise_scale" (or "concentration", of the negative binomial). By default those that are not given:
        all, or none of a model that `make_program` is given. `twinplate fit` has the same default.
    amplitude_scale: prior standard deviation s > 0 of the log amplitude, a second latent that scales the
        signal of an item; None leaves it out.
    encoder: "mlp", or "experts" for data with missing entries.
    hidden_width: H ≥ 1, units of each of the encoder's two hidden layers.
    likelihood: of the entries given the latents, "normal", "poisson", "negative-binomial" or "bernoulli"
        (`twinplate.programs.likelihood`).
    offset: of counts, what the offsets of the items are (`twinplate.programs.offsets`): "total", their counts
        in all; "given", beside the data; or "none". Left empty it is "total" for counts.

    Raises InputError for a value out of range, and for a guide whose model or covariance is another one.

    >>> from twinplate import ProgramConfig
    >>> config = ProgramConfig(num_features=6, num_components=3, guide="event", learned=("loadings",))
    >>> config.model, config.covariance
    ('event', 'full')
    """

    num_features: int
    num_components: int
    guide: str = "auxiliary"
    model: str = ""
    covariance: str = ""
    rank: int = 2
    learned: tuple[str, ...] | None = None
    amplitude_scale: float | None = None
    encoder: str = "mlp"
    hidden_width: int = 128
    likelihood: str = "normal"
    offset: str = ""

    def __post_init__(self) -> None:
        _one_of("guide", self.guide, GUIDES)
        model, covariances = PAIRS[self.guide]
        _set(self, "model", self.model or model)
        _set(self, "covariance", self.covariance or covariances[0])
        _one_of("likelihood", self.likelihood, LIKELIHOODS)
        counts = self.likelihood in COUNTS
        _set(self, "offset", self.offset or ("total" if counts else "none"))
        _one_of("offset", self.offset, OFFSETS if counts else OFFSETS[:1])
        if self.learned is not None:
            _set(self, "learned", _learned(self.learned, learnable(self.likelihood)))
        if self.model != model:
            raise InputError(
                f"model {self.model!r} and guide {self.guide!r} do not fit together: they name or shape "
                f"the latent differently; the valid pairs are {VALID_PAIRS}"
            )
        _one_of("covariance", self.covariance, COVARIANCES)
        if self.covariance not in covariances:
            raise InputError(
                f"the {self.guide} guide cannot have covariance {self.covariance!r}; expected "
                f"{_listed(covariances)}; for correlations use the guide 'event' or 'auxiliary'"
            )
        _one_of("encoder", self.encoder, ENCODERS)
        for name in ("num_features", "num_components", "hidden_width"):
            _set(self, name, _whole(name, getattr(self, name), 1))
        most = self.num_components
        if not _is_whole(self.rank) or (
            self.covariance == "low-rank" and not 1 <= self.rank <= most
        ):
            raise InputError(f"rank is {self.rank}; expected 1 to num_components = {most}")
        if self.amplitude_scale is not None and not _is_positive(self.amplitude_scale):
            shown = _shown(self.amplitude_scale)
            raise InputError(f"amplitude_scale is {shown}; expected a positive number, or None")
        if self.amplitude_scale is not None and self.likelihood != "normal":
            raise InputError(
                f"amplitude_scale is {self.amplitude_scale} with likelihood {self.likelihood!r}; expected "
                "None: of counts, what scales an item is its offset"
            )

    @property
    def has_offsets(self) -> bool:
        """Whether the row of an item ends with its offset."""
        return self.offset != "none"

    @property
    def row_size(self) -> int:
        """Numbers of the row of an item, and inputs of its encoder: D, or D + 1 with an offset."""
        return self.num_features + self.has_offsets

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for `run.json`."""
        return {**asdict(self), "learned": None if self.learned is None else list(self.learned)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ProgramConfig:
        """The inverse of `as_dict`."""
        learned = values["learned"]
        return cls(**{**values, "learned": None if learned is None else tuple(learned)})


@dataclass(frozen=True)
class TrainingConfig:
    """How a program is fitted: Adam (β = 0.9, 0.999, ε = 1e-8) under a cosine schedule to zero.

    steps: ≥ 1.  batch_size: B ≥ 1; all data where there are fewer.  learning_rate: > 0, at the first step.
    particles: P ≥ 1 draws of the latents per step.
    vectorize_particles: whether the draws of a step are taken in one batch, or one after the other.
    objective: what is maximised. "elbo": the evidence lower bound. "simulated": Σ log q(a | x) over pairs
        (x, a) that are drawn from the model. "pairs": the same over given pairs.
    estimator: of the ELBO and its gradient, one of
        "base-noise": log p - log q at the draw, where log q is computed from the base noise of the draw;
        "analytic-kl": KL(q(a | x) ‖ p(a)) in closed form, while an amplitude is still sampled;
        "sticking-the-landing" (Roeder, Wu and Duvenaud, 2017): the score of q, which is zero in
        expectation, is left out of the gradient. That gradient's variance vanishes where q is exact, but
        far from there it is large. So training takes "base-noise" first, and this one for the last
        fifth of the steps, after 200 steps at the earliest.
    seed: ≥ 0, the key of every random stream.  precision: "float32" or "float64".
    device: "auto" (an accelerator if there is one), "cpu" or "gpu".

    Raises InputError for a value out of range.

    >>> from twinplate import TrainingConfig
    >>> TrainingConfig(steps=500, batch_size=64, particles=2).learning_rate
    0.01
    """

    steps: int = 3000
    batch_size: int = 256
    learning_rate: float = 1e-2
    particles: int = 1
    vectorize_particles: bool = True
    objective: str = "elbo"
    estimator: str = "base-noise"
    seed: int = 0
    precision: str = "float32"
    device: str = "auto"

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "particles"):
            _set(self, name, _whole(name, getattr(self, name), 1))
        _set(self, "seed", _whole("seed", self.seed, 0))
        if not _is_positive(self.learning_rate):
            raise InputError(
                f"learning_rate is {_shown(self.learning_rate)}; expected a positive number"
            )
        _one_of("objective", self.objective, OBJECTIVES)
        if self.particles > 1 and self.objective != "elbo":
            raise InputError(
                f"particles is {self.particles} with objective {self.objective!r}, which draws none; "
                "expected 1; a larger batch_size lowers its noise"
            )
        _one_of("estimator", self.estimator, ESTIMATORS)
        if self.estimator != ESTIMATORS[0] and self.objective != "elbo":
            raise InputError(
                f"estimator is {self.estimator!r} with objective {self.objective!r}, which has no ELBO to "
                f"estimate; expected {ESTIMATORS[0]!r}"
            )
        _one_of("precision", self.precision, PRECISIONS)
        _one_of("device", self.device, DEVICES)

    def for_items(self, num_items: int) -> TrainingConfig:
        """The same for N items: a mini-batch larger than the data is the data."""
        return replace(self, batch_size=min(self.batch_size, num_items))

    def check_items(self, num_items: int) -> None:
        """Raise InputError unless B ≤ N."""
        if self.batch_size > num_items:
            raise InputError(
                f"batch_size is {self.batch_size} but there {are(num_items)} {counted(num_items, 'item')}; "
                f"expected a batch size of 1 to {num_items}"
            )

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for `run.json`."""
        return asdict(self)


def _set(config: Any, name: str, value: Any) -> None:
    object.__setattr__(config, name, value)


def learnable(likelihood: str) -> tuple[str, ...]:
    """The generative parameters of a likelihood that can be learned."""
    if likelihood == "normal":
        return LEARNABLE
    return (*LEARNABLE[:2], *(["concentration"] if likelihood == "negative-binomial" else []))


def _learned(names: tuple[str, ...], allowed: tuple[str, ...]) -> tuple[str, ...]:
    """The names in the order of `allowed`."""
    if isinstance(names, str):
        raise InputError(
            f"learned is the string {names!r}; expected a tuple of {_listed(allowed)}, such as ({names!r},)"
        )
    for name in names:
        _one_of("learned", name, allowed)
    return tuple(name for name in allowed if name in names)


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InputError(f"{name} is {value!r}; expected {_listed(allowed)}")


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral)  # NumPy's too


def _is_positive(value: object) -> bool:
    return isinstance(value, Real) and 0 < float(value) < float("inf")


def _whole(name: str, value: int, least: int) -> int:
    if not _is_whole(value) or value < least:
        raise InputError(f"{name} is {_shown(value)}; expected a whole number, {least} or more")
    return int(value)


def _shown(value: object) -> str:
    """A text in quotes: '3' is no number."""
    return repr(value) if isinstance(value, str) else str(value)


def _listed(words: tuple[str, ...]) -> str:
    return " or ".join(repr(word) for word in words)
