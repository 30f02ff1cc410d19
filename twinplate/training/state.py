"""Where a training run stands, and what it leaves behind."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from html import escape
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt

from twinplate.data.columns import default_name
from twinplate.data.frames import aligned
from twinplate.errors import InputError
from twinplate.programs.amplitude import log_evidence_with_amplitude
from twinplate.programs.count_prediction import CountPrediction, predict_counts
from twinplate.programs.encoding import check_seen, guide_blocks, new_items
from twinplate.programs.generalised_linear import GeneralisedLinear
from twinplate.programs.importance import DRAWS, EvidenceBound, importance_bound
from twinplate.programs.linear_gaussian import Gaussian, LinearGaussian, placed
from twinplate.programs.parameters import generative_of, linear_gaussian_of
from twinplate.programs.prediction import Prediction
from twinplate.programs.program import Params, ReferenceProgram
from twinplate.programs.summary import Summary
from twinplate.seeds import generator
from twinplate.words import counted

Array = npt.NDArray[np.float64]

LAST = 100  # steps whose mean loss stands for the end of a run

# Called after every chunk of steps with the number of steps done and the chunk's losses per item.
Progress = Callable[[int, Array], None]


@dataclass(frozen=True)
class Limits:
    """What the steps of a run are held to, once it has begun (`twinplate.training.net`).

    rate: the highest learning rate that a step has; infinite until a chunk of steps went wrong.
    loss: per item, above which the end of the next chunk has gone wrong; infinite at the start of a run.
    """

    rate: float = math.inf
    loss: float = math.inf

    def as_dict(self) -> dict[str, float]:
        """Those that are finite, for a file; `Limits(**...)` reads them again."""
        return {name: value for name, value in asdict(self).items() if math.isfinite(value)}


@dataclass(frozen=True, repr=False)
class TrainingState:
    """Everything that the next step depends on. `fit` takes one as `state` and goes on from there.

    params: the parameters after the last step.  mean, variance: Adam's two moments of each.
    average: of the parameters of the steps so far, which is what a fit gives.  step: steps that are done.
    limits: of the learning rate and the loss.
    All four dictionaries are in the neutral layout of `twinplate.programs.parameters`.

    >>> import numpy as np
    >>> from twinplate import TrainingState
    >>> state = TrainingState.start({"raw_intercept": np.ones(2)})
    >>> state.step, state.mean["raw_intercept"]
    (0, array([0., 0.]))
    """

    params: Params
    mean: Params
    variance: Params
    average: Params
    step: int = 0
    limits: Limits = Limits()

    def __repr__(self) -> str:
        numbers = sum(np.size(values) for values in self.params.values())
        arrays = counted(len(self.params), "array")
        return f"TrainingState(step={self.step}, {arrays} of {counted(numbers, 'parameter')})"

    @classmethod
    def start(cls, params: Params) -> TrainingState:
        """At step 0: moments of zero, and `params` themselves for an average."""
        mean, variance = ({n: np.zeros_like(v) for n, v in params.items()} for _ in range(2))
        return cls(params, mean, variance, {n: v.copy() for n, v in params.items()})


@dataclass(frozen=True, repr=False)
class Fit:
    """A fitted program: where training ended, how it went, and what it says of items seen or new.

    state: after the last step.  losses: (steps,), of every step, in nats per item.
    compile_seconds: what compiling took; little where the compiled program was found on disk.
    program: what was fitted; it makes numbers in the units of the data of the parameters.
    notes: what was done where training would have gone astray; empty for most fits.

    `twinplate.load` reads one of a run directory. The methods that take items `x` (N, D), NaN where missing,
    need neither framework, and compute in double precision. N may be 0. Columns of a frame are found by name
    (`twinplate.data.frames`). InputError is raised for an `x` of another shape or with other columns, for
    infinite entries, and where `program` is not known; by those that go through the guide also for entries
    that are missing where its encoder was trained on complete data alone.

    >>> import numpy as np
    >>> from twinplate import Fit, ProgramConfig, TrainingState, initial_params, make_program
    >>> x = np.random.default_rng(0).normal(size=(50, 1)) @ [[1.0, 2.0, 3.0]] + np.eye(50, 3)
    >>> program = make_program(x, ProgramConfig(num_features=3, num_components=1))
    >>> fit = Fit(TrainingState.start(initial_params(program, 0)), np.zeros(0), program=program)
    >>> fit.posterior(x).loc.shape, fit.sample(x, 100).shape, fit.log_evidence(x).shape
    ((50, 1), (100, 50, 1), (50,))
    >>> found = fit.predict(x)
    >>> found.mean.shape, found.scale.shape
    ((50, 3), (50, 3))
    """

    state: TrainingState
    losses: Array
    compile_seconds: float = 0.0
    program: ReferenceProgram | None = None
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        lines = [f"Fit of {counted(self.state.step, 'step')}: {self._course()}"]
        if self.program is not None:
            d, k = self.program.start.loadings.shape
            learned = ", ".join(self.program.learned) or "nothing but the guide"
            lines.append(
                f"loadings ({d}, {k}), intercept ({d},), noise_scale ({d},); learned: {learned}"
            )
        lines += [repr(self.state), *self.notes]
        return "\n".join(lines)

    @property
    def generative(self) -> LinearGaussian:
        """The fitted generative model in the units of the data; what was not learned is as it was given.

        Raises InputError where `program` is not known, and of another likelihood than the normal one, whose
        model is `generalised`.
        """
        return linear_gaussian_of(self._program(), self.params)

    @property
    def generalised(self) -> GeneralisedLinear:
        """The fitted model of counts, or of zeros and ones. Raises InputError of the normal likelihood."""
        model = generative_of(self._program(), self.params)
        if not isinstance(model, GeneralisedLinear):
            raise InputError("likelihood 'normal' has closed forms; expected `Fit.generative`")
        return model

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the D features; () where they are not known."""
        return () if self.program is None else self.program.features

    @property
    def loadings(self) -> Array:
        """Those of the generative model, (D, K)."""
        return generative_of(self._program(), self.params).loadings

    @property
    def intercept(self) -> Array:
        """That of the generative model, (D,)."""
        return generative_of(self._program(), self.params).intercept

    @property
    def noise_scale(self) -> Array:
        """That of `generative`, (D,), standard deviations. Raises InputError of counts, which have none."""
        return self.generative.noise_scale

    @property
    def params(self) -> Params:
        """The fitted parameters in the neutral layout: `state.average`, no longer moved by single steps."""
        return self.state.average

    def posterior(self, x: Any, *, offsets: Any = None) -> Gaussian:
        """The guide's q(a | x): loc (N, K), scale_tril (N, K, K), or packed as `scale_tril_packed`.

        The same as `posterior` of either twin. With an amplitude it is the guide's factor for `a`; of an item
        without any entry it is the prior. The exact posterior is `fit.generative.posterior(x)`.
        """
        program, offsets = self._program(), aligned(offsets, x)
        x, k = new_items(x, program), program.config.num_components
        parts = self.posterior_blocks(x, offsets=offsets)
        found = Gaussian(np.empty((len(x), k)), np.empty((len(x), k, k)))
        for rows, part in placed(parts):
            found.loc[rows], found.scale_tril[rows] = part.loc, part.scale_tril
        return found

    def posterior_blocks(self, x: Any, *, offsets: Any = None) -> Iterator[Gaussian]:
        """`posterior` in parts, of some thousand consecutive items each; `x` may be a memory map."""
        program, offsets = self._program(), aligned(offsets, x)
        x = new_items(x, program)
        check_seen(program, self.state.variance, x)
        return guide_blocks(program, self.params, x, program.offsets_of(x, offsets))

    def sample(self, x: Any, num_samples: int = 1, *, seed: int = 0, offsets: Any = None) -> Array:
        """Draws of the latents `a` from the guide, (num_samples, N, K); the same for one `seed`.

        Raises InputError also for `num_samples` that is no whole number, or below 1.
        """
        if not isinstance(num_samples, Integral) or num_samples < 1:
            raise InputError(f"num_samples is {num_samples!r}; expected a whole number, 1 or more")
        q = self.posterior(x, offsets=offsets)
        noise = generator(seed, "sample").standard_normal((num_samples, *q.loc.shape))
        return q.loc + np.einsum("nkj,snj->snk", q.scale_tril, noise)

    def predict(
        self, x: Any, *, exact: bool = False, offsets: Any = None
    ) -> Prediction | CountPrediction:
        """What measurements of the items would be, by the guide; `.imputed` fills in what is missing.

        exact: by the model's own posterior, which knows no guide.

        Mean and scale of each entry are in closed form, for the guide is normal and the model linear. Of
        counts it is a CountPrediction, whose intervals end at whole numbers. Raises InputError also with an
        amplitude, with which there is no such form, and for `exact` of counts.
        """
        if self._counts and not exact:
            x, of = self._with_offsets(x, offsets)
            return predict_counts(self.generalised, x, of, self.posterior_blocks(x, offsets=of))
        x, model = self._closed("a prediction", x)
        self._with_offsets(x, offsets)
        found = Prediction(np.array(x, np.float64), np.empty(x.shape), np.empty(x.shape))
        parts = model.posterior_blocks(x) if exact else self.posterior_blocks(x)
        for rows, part in placed(parts):
            found.mean[rows], found.scale[rows] = model.reconstruct(part)
        return found

    def log_evidence(self, x: Any, *, offsets: Any = None) -> Array:
        """Exact log p(x) of the observed entries of every item (N,), in nats and in the units of the data.

        With an amplitude it is the integral over it, to about 1e-9 (`twinplate.programs.amplitude`). Of
        counts it is the value of `evidence_bound`, which has its error.
        """
        if self._counts:
            return self.evidence_bound(x, offsets=offsets).value
        program, model = self._program(), self.generative
        x, _ = self._with_offsets(x, offsets)
        scale = program.config.amplitude_scale
        if scale is not None:
            return log_evidence_with_amplitude(model, scale, x)
        return model.log_evidence(x)

    def evidence_bound(
        self, x: Any, *, offsets: Any = None, num_samples: int = DRAWS, seed: int = 0
    ) -> EvidenceBound:
        """A lower bound on log p(x) of every item of counts, with the error that its draws leave.

        By importance weights of `num_samples` draws an item, most of them from the guide
        (`twinplate.programs.importance`); the same for one `seed`. Raises InputError also of the normal
        likelihood, whose `log_evidence` is exact, and for fewer than 2 draws.
        """
        if not isinstance(num_samples, Integral) or num_samples < 2:
            raise InputError(f"num_samples is {num_samples!r}; expected a whole number, 2 or more")
        model = self.generalised
        x, of = self._with_offsets(x, offsets)
        parts = self.posterior_blocks(x, offsets=of)
        return importance_bound(model, x, of, parts, int(num_samples), seed)

    def elbo(self, x: Any) -> Array:
        """The guide's expected ELBO of every item (N,): `log_evidence` less its divergence, in nats.

        Exact, not an estimate from draws. Raises InputError also with an amplitude and of counts.
        """
        x, model = self._closed("the ELBO", x)
        found = model.log_evidence(x)
        for rows, part in placed(self.posterior_blocks(x)):
            found[rows] -= model.kl_to_posterior(x[rows], part)
        return found

    def summary(self) -> Summary:
        """What was fitted, how training went, and what the components are; `print` shows it as text."""
        program, losses = self._program(), self.losses
        config = program.config
        facts = {
            "features": config.num_features,
            "components": config.num_components,
            "guide": config.guide,
            "covariance": config.covariance,
            **({} if config.likelihood == "normal" else {"likelihood": config.likelihood}),
            "learned": list(program.learned),
            "steps": self.state.step,
            "first_loss": float(losses[0]) if len(losses) > 0 and self._began == 0 else None,
            "last_loss": _last(losses) if len(losses) else None,
            "notes": list(self.notes),
        }
        names = self.features or tuple(map(default_name, range(config.num_features)))
        return Summary.of(facts, generative_of(program, self.params), names)

    def _repr_html_(self) -> str:
        """What notebooks show."""
        if self.program is None:
            return f"<pre>{escape(repr(self))}</pre>"
        heading = f"Fit of {counted(self.state.step, 'step')}: {self._course()}"
        return f"<p>{heading}</p>{self.summary()._repr_html_()}"

    @property
    def _counts(self) -> bool:
        """Whether the likelihood is another one than the normal."""
        return self._program().config.likelihood != "normal"

    def _with_offsets(self, x: Any, offsets: Any) -> tuple[np.ndarray, Array | None]:
        """The items and their offsets, checked."""
        offsets, x = aligned(offsets, x), new_items(x, self._program())
        return x, self._program().offsets_of(x, offsets)

    @property
    def _began(self) -> int:
        """Steps that were done before the first of the losses, by another fit."""
        return max(self.state.step - len(self.losses), 0)

    def _course(self) -> str:
        losses, began = self.losses, self._began
        if not len(losses):
            return "no loss"
        first = f"loss {losses[0]:.4g} at {f'step {began}' if began else 'first'}"
        over = f", mean of the last {LAST}" if len(losses) > LAST else ""
        return f"{first}, {_last(losses):.4g} at last{over}"

    def _program(self) -> ReferenceProgram:
        if self.program is None:
            raise InputError("this fit does not say of which program; expected what `fit` returns")
        return self.program

    def _closed(self, what: str, x: Any) -> tuple[np.ndarray, LinearGaussian]:
        """The items and the model, where there is `what` in closed form."""
        program = self._program()
        if program.config.amplitude_scale is not None:
            raise InputError(
                f"a model with an amplitude has no closed form of {what}; expected amplitude_scale=None"
            )
        return np.asarray(new_items(x, program)), self.generative


def _last(losses: Array) -> float:
    """The mean of the last LAST losses; of no more than that, the last one."""
    return float(losses[-LAST:].mean() if len(losses) > LAST else losses[-1])
