"""The amortisation network: from items to the parameters of q(a | x), missing entries allowed.

Two networks with one interface, `encoder(x) -> Encoded`. `Encoder` is a multilayer perceptron with a
linear skip. `ExpertsEncoder` adds up, per item, what each observed feature says about `a`: the exact
posterior of a linear-Gaussian model has this form, whichever entries are missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array, lax
from jax.scipy.linalg import solve_triangular

from numpyro_impl.programs.likelihoods import split_rows, working
from twinplate.programs.config import ProgramConfig
from twinplate.programs.parameters import FAR, output_parts, output_size, output_units
from twinplate.programs.positive import LEAST_POSITIVE, UNIT_SHIFT
from twinplate.programs.program import ReferenceProgram


class Encoded(NamedTuple):
    """Parameters of q for B items. `loc` (B, K), and by covariance one of

    full: `scale_tril` (B, K, K), or its diagonal `scale` (B, K) and, row by row, its strict lower
    triangle `lower` (B, K (K - 1) / 2); diagonal: `scale` (B, K); low-rank: `scale`
    (B, K) and `factor` (B, K, R), covariance factor factorᵀ + diag(scale²). With an
    amplitude also the `amplitude_loc` and `amplitude_scale` (B,) of its logarithm.

    >>> encoded = Encoded(jnp.zeros((5, 3)), scale=jnp.ones((5, 3)))
    >>> encoded.factor is None
    True
    """

    loc: Array
    scale_tril: Array | None = None
    scale: Array | None = None
    lower: Array | None = None
    factor: Array | None = None
    amplitude_loc: Array | None = None
    amplitude_scale: Array | None = None


class Encoder(nnx.Module):
    """Two hidden layers, and a linear skip from the features to loc; missing entries are zeros plus a mask.

    The skip leaves the scales alone: linear in a feature, they would run away on an outlier.
    complete: a promise that no entry of `x` is missing; then nothing is spent on the mask.

    >>> import numpy
    >>> from twinplate import ProgramConfig, make_program
    >>> program = make_program(numpy.eye(5, 4), ProgramConfig(4, 3))
    >>> encoder = Encoder(program)
    >>> tuple(encoder(jnp.zeros((5, 4))).loc.shape)
    (5, 3)
    """

    def __init__(self, program: ReferenceProgram, complete: bool = False) -> None:
        self.program, self.complete = program, complete
        config = program.config
        d, k, h = config.num_features, config.num_components, config.hidden_width
        self.hidden1 = _linear(config.row_size + d, h)
        self.hidden2 = _linear(h, h)
        self.out = _linear(h, output_size(config))
        self.skip = _linear(self._skip_inputs(config), k, use_bias=False)

    @staticmethod
    def _skip_inputs(config: ProgramConfig) -> int:
        return config.row_size

    def inputs(self, x: Array) -> tuple[Array, Array | None]:
        """Standardised features with zeros for missing entries, and the missing indicator, both (B, D).

        The indicator is None where the data are complete. The logarithm of an offset is one more feature.
        """
        config = self.program.config
        x, offsets = split_rows(x, config)
        center, spread = (
            jnp.asarray(values, x.dtype) for values in (self.program.center, self.program.spread)
        )
        logs = None
        if offsets is not None:
            assert self.program.offset_units is not None
            middle, unit = jnp.asarray(self.program.offset_units, x.dtype)
            logs = jnp.log(offsets) - middle
        features = (working(config.likelihood, x, logs) - center) / spread
        missing = None if self.complete else jnp.isnan(x)
        if missing is not None:
            features = jnp.where(missing, 0.0, features)
        if logs is not None:
            features = jnp.concatenate([features, (logs / unit)[:, None]], -1)
        return features, None if missing is None else missing.astype(x.dtype)

    def network(self, features: Array, missing: Array | None) -> Array:
        """The perceptron alone, (B, O)."""
        silu = jax.nn.silu
        hidden = silu(self.hidden2(silu(self._first(self.near(features), missing))))
        of_numbers, bias = output_units(self.program), self.out.bias
        if of_numbers is None:
            return self.out(hidden)
        assert bias is not None
        units = jnp.asarray(of_numbers, hidden.dtype)
        return hidden @ (units * self.out.kernel[...]) + units * bias[...]

    def near(self, features: Array) -> Array:
        """The features (B, D), those of far outliers close to zero; as they are where no width is known."""
        if self.program.width is None:
            return features
        return features / (1 + jnp.mean(jnp.square(features), -1, keepdims=True) / FAR**2)

    def _first(self, features: Array, missing: Array | None) -> Array:
        if missing is not None:
            return self.hidden1(jnp.concatenate([features, missing], -1))
        weight, bias = self.hidden1.kernel[...], self.hidden1.bias
        assert bias is not None
        return features @ weight[: features.shape[-1]] + bias[...]

    def linear(self, inputs: Array) -> Array:
        """The skip, (B, K), in the units of the perceptron's first K numbers."""
        skipped, units = self.skip(inputs), output_units(self.program)
        k = self.program.config.num_components
        return skipped if units is None else skipped * jnp.asarray(units[:k], skipped.dtype)

    def parts(self, features: Array, missing: Array | None) -> dict[str, Array]:
        """The perceptron's (B, size) for each of `twinplate.programs.parameters.output_parts`."""
        sizes = output_parts(self.program.config)
        ends = list(accumulate(sizes.values()))[:-1]
        pieces = jnp.split(self.network(features, missing), ends, -1)
        return dict(zip(sizes, pieces, strict=True))

    def __call__(self, x: Array) -> Encoded:
        features, missing = self.inputs(x)
        part = self.parts(features, missing)
        return Encoded(
            part["loc"] + self.linear(features), lower=part.get("lower"), **self.rest(part)
        )

    def rest(self, part: dict[str, Array]) -> dict[str, Array]:
        """Scale (B, K), factor (B, K, R), amplitude (B,): those that the perceptron puts out."""
        found = {}
        if "scale" in part:
            scale, width = positive(part["scale"]), self.program.width
            found["scale"] = scale if width is None else jnp.asarray(width, scale.dtype) * scale
        if "factor" in part:
            found["factor"] = part["factor"].reshape(
                -1, self.program.config.num_components, self.program.config.rank
            )
        if "amplitude_loc" in part:
            found["amplitude_loc"] = part["amplitude_loc"][:, 0]
            found["amplitude_scale"] = positive(part["amplitude_scale"][:, 0])
        return found


class ExpertsEncoder(Encoder):
    """A product of Gaussian experts: feature d, where observed, adds v_d v_dᵀ to the precision.

    precision = diag(positive(c)) + Σ_d observed_d v_d v_dᵀ and precision × mean = h, with h linear in the
    features and the missing indicator; the perceptron corrects both h and c per item. The covariance
    family takes what it can express: all of the inverse, or the conditional scales precision_ii^-½
    (the optimum of the diagonal family), or a perceptron's low-rank factor.

    >>> import numpy
    >>> from twinplate import ProgramConfig, make_program
    >>> program = make_program(numpy.eye(5, 4), ProgramConfig(4, 3, encoder="experts"))
    >>> encoder = ExpertsEncoder(program)
    >>> tuple(encoder(jnp.zeros((5, 4))).loc.shape)
    (5, 3)
    """

    def __init__(self, program: ReferenceProgram, complete: bool = False) -> None:
        super().__init__(program, complete)
        config = program.config
        self.experts = nnx.Param(jnp.zeros((config.num_features, config.num_components)))

    @staticmethod
    def _skip_inputs(config: ProgramConfig) -> int:
        return config.row_size + config.num_features

    def __call__(self, x: Array) -> Encoded:
        features, missing = self.inputs(x)
        part = self.parts(features, missing)
        if missing is None:
            missing = jnp.zeros((len(x), len(self.experts[...])), x.dtype)
        k, covariance = self.program.config.num_components, self.program.config.covariance
        natural = part["natural"] + self.linear(jnp.concatenate([features, missing], -1))
        experts = self.experts[...]
        outer = (experts[:, :, None] * experts[:, None, :]).reshape(-1, k * k)
        learned = ((1 - missing) @ outer).reshape(-1, k, k)
        precision = learned + diagonal_matrix(positive(part["precision"]))
        scale_tril = scale_tril_of_precision(precision)
        loc = (scale_tril @ (scale_tril.mT @ natural[:, :, None]))[..., 0]
        rest = self.rest(part)
        if covariance == "full":
            rest["scale_tril"] = scale_tril
        if covariance == "diagonal":
            rest["scale"] = lax.rsqrt(jnp.diagonal(precision, axis1=-2, axis2=-1))
        return Encoded(loc, **rest)


def positive(numbers: Array) -> Array:
    """softplus(numbers + UNIT_SHIFT), 1 at 0, never 0."""
    return jnp.maximum(jax.nn.softplus(numbers + UNIT_SHIFT), LEAST_POSITIVE)


def scale_tril_of_precision(precision: Array) -> Array:
    """Lower Cholesky factor of the inverse: with JΛJ = CCᵀ (J reverses the order), it is J C⁻ᵀ J."""
    flipped = jnp.linalg.cholesky(jnp.flip(precision, (-2, -1)))
    identity = jnp.broadcast_to(
        jnp.eye(precision.shape[-1], dtype=precision.dtype), precision.shape
    )
    inverse = solve_triangular(flipped, identity, lower=True)
    return jnp.flip(inverse.mT, (-2, -1))


def diagonal_matrix(values: Array) -> Array:
    """(..., K) to (..., K, K)."""
    return values[..., None] * jnp.eye(values.shape[-1], dtype=values.dtype)


def _linear(inputs: int, outputs: int, use_bias: bool = True) -> nnx.Linear:
    # Values come from the neutral layout (`params.py`); the initialiser only gives shapes. NumPy's zeros are
    # not compiled for each of them.
    def zeros(key: Array, shape: Sequence[int], dtype: Any) -> Array:
        return jnp.asarray(np.zeros(shape, dtype))

    return nnx.Linear(
        inputs, outputs, use_bias=use_bias, kernel_init=zeros, bias_init=zeros, rngs=nnx.Rngs(0)
    )


ENCODERS = {"mlp": Encoder, "experts": ExpertsEncoder}
