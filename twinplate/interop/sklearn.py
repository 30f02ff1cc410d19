"""Factor analysis by variational inference as a scikit-learn estimator."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from twinplate.backends import default_backend, load_backend
from twinplate.data.frames import aligned
from twinplate.errors import InputError
from twinplate.programs.config import ProgramConfig, TrainingConfig
from twinplate.programs.offsets import given_offsets
from twinplate.programs.program import make_program
from twinplate.training.state import Fit

try:
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
    from sklearn.utils import Tags, check_random_state
    from sklearn.utils.validation import check_is_fitted, check_non_negative, validate_data
except ImportError as error:
    raise InputError(
        "this needs scikit-learn 1.6 or later; install it with: pip install 'twinplate[sklearn]'"
    ) from error

Array = npt.NDArray[np.float64]


class VariationalFactorAnalysis(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A linear-Gaussian factor model with an amortised guide, fitted by Pyro or NumPyro.

    n_components: K ≥ 1.
    guide, covariance, encoder: as in `ProgramConfig`. The encoder "experts" takes missing entries (NaN) in
        training and later; "mlp" is faster, and takes them only if there were some in training.
    likelihood: "normal", or of counts and of zeros and ones "poisson", "negative-binomial" or "bernoulli", as
        in `ProgramConfig`.
    offset: of counts, "total" (the default) or "none", as in `ProgramConfig`. Given offsets are passed as
        `offsets` (N,) to the methods that take items, and by scikit-learn's metadata routing where it is
        enabled: `set_fit_request(offsets=True)`, and so for `transform` and `score`.
    steps, batch_size, learning_rate, precision, device: as in `TrainingConfig`; a batch_size beyond the data
        is the data.
    backend: "pyro" or "numpyro"; by default NumPyro where it is installed.
    random_state: an integer, the seed of every random stream; a `RandomState`, which gives one; or None.

    After `fit`: `fit_`, the `twinplate.Fit` with posterior, draws and predictions; `components_` (K, D),
    `mean_` (D,) and `noise_variance_` (D,) in the units of the data; `n_features_in_`, and
    `feature_names_in_` where the columns of `X` have names. Of counts `components_` and `intercept_` (D,) are
    those of the predictor, and `concentration_` (D,) of the negative binomial, in place of mean and noise.

    Raises InputError, a ValueError, for a parameter or data that cannot be used.

    >>> import numpy as np
    >>> from twinplate.interop.sklearn import VariationalFactorAnalysis
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(100, 2)) @ rng.normal(size=(2, 5)) + 0.1 * rng.normal(size=(100, 5))
    >>> X[rng.random(X.shape) < 0.1] = np.nan
    >>> model = VariationalFactorAnalysis(n_components=2, steps=20, random_state=0)
    >>> model.fit_transform(X).shape, model.components_.shape
    ((100, 2), (2, 5))
    >>> [str(name) for name in model.get_feature_names_out()]
    ['variationalfactoranalysis0', 'variationalfactoranalysis1']
    """

    def __init__(
        self,
        n_components: int = 2,
        *,
        guide: str = "auxiliary",
        covariance: str = "",
        encoder: str = "experts",
        likelihood: str = "normal",
        offset: str = "",
        steps: int = 3000,
        batch_size: int = 256,
        learning_rate: float = 1e-2,
        precision: str = "float32",
        device: str = "auto",
        backend: str | None = None,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.guide = guide
        self.covariance = covariance
        self.encoder = encoder
        self.likelihood = likelihood
        self.offset = offset
        self.steps = steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.precision = precision
        self.device = device
        self.backend = backend
        self.random_state = random_state

    def fit(
        self,
        X: npt.ArrayLike,  # noqa: N803
        y: object = None,
        *,
        offsets: npt.ArrayLike | None = None,
    ) -> VariationalFactorAnalysis:
        """Fit the model to `X` (N, D), NaN where missing; `y` is not looked at. offsets: (N,), of counts."""
        x, offsets = self._validated(X, reset=True), aligned(offsets, X)
        config = ProgramConfig(
            x.shape[1],
            self.n_components,
            guide=self.guide,
            covariance=self.covariance,
            encoder=self.encoder,
            likelihood=self.likelihood,
            offset=self.offset,
        )
        training = TrainingConfig(
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            seed=self._seed(),
            precision=self.precision,
            device=self.device,
        )
        implementation = load_backend(self.backend or default_backend())
        names = tuple(getattr(self, "feature_names_in_", ()))
        program = replace(make_program(x, config, offsets=offsets), features=names)
        ready = training.for_items(len(x))
        self.fit_: Fit = implementation.fit(x, program, ready, offsets=offsets)
        self.components_ = self.fit_.loadings.T
        for name in ("mean_", "noise_variance_", "intercept_", "concentration_"):
            self.__dict__.pop(name, None)  # what a fit by another likelihood has left
        if self.likelihood == "normal":
            self.mean_ = self.fit_.intercept
            self.noise_variance_ = self.fit_.noise_scale**2
        else:
            self.intercept_ = self.fit_.intercept
            if self.likelihood == "negative-binomial":
                self.concentration_ = self.fit_.generalised.concentration
        return self

    def fit_transform(
        self,
        X: npt.ArrayLike,  # noqa: N803
        y: object = None,
        *,
        offsets: npt.ArrayLike | None = None,
    ) -> Array:
        """`fit` and then `transform`, with the same offsets."""
        return np.asarray(self.fit(X, offsets=offsets).transform(X, offsets=offsets))

    def transform(self, X: npt.ArrayLike, *, offsets: npt.ArrayLike | None = None) -> Array:  # noqa: N803
        """The mean of each item's latents by the guide, (N, K)."""
        check_is_fitted(self)
        return self.fit_.posterior(self._validated(X), offsets=aligned(offsets, X)).loc

    def inverse_transform(
        self,
        X: npt.ArrayLike,  # noqa: N803
        *,
        offsets: npt.ArrayLike | None = None,
    ) -> Array:
        """What latents `X` (N, K) stand for in the units of the data, (N, D).

        Of counts they are means, of items with an offset of 1 unless `offsets` (N,) are given; of zeros and
        ones the probabilities of a one.
        """
        check_is_fitted(self)
        latents, size = np.asarray(X, dtype=np.float64), len(self.components_)
        if latents.ndim != 2 or latents.shape[1] != size:
            raise InputError(f"X has shape {latents.shape}; expected latents (N, {size})")
        # By the fit: what `set_params` says later is for the next one.
        if hasattr(self, "mean_"):
            return np.asarray(latents @ self.components_ + self.mean_)
        given = None if offsets is None else given_offsets(offsets, len(latents))
        eta = self.fit_.generalised.predictor(latents, given)
        is_binary = self.fit_.generalised.likelihood == "bernoulli"
        return np.asarray(expit(eta) if is_binary else np.exp(eta))

    def score_samples(
        self,
        X: npt.ArrayLike,  # noqa: N803
        *,
        offsets: npt.ArrayLike | None = None,
    ) -> Array:
        """The exact log evidence of every item (N,), in nats; of counts a lower bound on it."""
        check_is_fitted(self)
        return self.fit_.log_evidence(self._validated(X), offsets=aligned(offsets, X))

    def score(
        self,
        X: npt.ArrayLike,  # noqa: N803
        y: object = None,
        *,
        offsets: npt.ArrayLike | None = None,
    ) -> float:
        """The mean of `score_samples`: the higher, the better; what a grid search goes by."""
        return float(self.score_samples(X, offsets=offsets).mean())

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.positive_only = self.likelihood != "normal"
        tags.transformer_tags.preserves_dtype = ["float64"]
        return tags

    @property
    def _n_features_out(self) -> int:
        return int(self.components_.shape[0])

    def _validated(self, values: npt.ArrayLike, reset: bool = False) -> Array:
        if isinstance(values, np.ma.MaskedArray):  # scikit-learn would take what is masked
            values = np.ma.filled(values.astype(np.float64), np.nan)
        checked = validate_data(
            self, values, reset=reset, dtype=np.float64, ensure_all_finite="allow-nan"
        )
        if self.likelihood != "normal":
            try:
                check_non_negative(checked, type(self).__name__)
            except ValueError as error:
                raise InputError(f"{error}; expected counts, NaN where missing") from None
        return np.asarray(checked)

    def _seed(self) -> int:
        if isinstance(self.random_state, int):
            return self.random_state
        return int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
