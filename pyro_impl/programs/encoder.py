"""The amortisation network: from items to the parameters of q(a | x), missing entries allowed.

Two networks with one interface, `encoder(x) -> Encoded`. `Encoder` is a multilayer perceptron with a
linear skip. `ExpertsEncoder` adds up, per item, what each observed feature says about `a`: the exact
posterior of a linear-Gaussian model has this form, whichever entries are missing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pyro_impl.programs.likelihoods import split_rows, working
from twinplate.programs.config import ProgramConfig
from twinplate.programs.parameters import FAR, output_parts, output_size, output_units
from twinplate.programs.positive import LEAST_POSITIVE, UNIT_SHIFT
from twinplate.programs.program import ReferenceProgram


@dataclass(frozen=True)
class Encoded:
    """Parameters of q for B items. `loc` (B, K), and by covariance one of

    full: `scale_tril` (B, K, K), or its diagonal `scale` (B, K) and, row by row, its strict lower
    triangle `lower` (B, K (K - 1) / 2); diagonal: `scale` (B, K); low-rank: `scale`
    (B, K) and `factor` (B, K, R), covariance factor factorᵀ + diag(scale²). With an
    amplitude also the `amplitude_loc` and `amplitude_scale` (B,) of its logarithm.

    >>> encoded = Encoded(torch.zeros(5, 3), scale=torch.ones(5, 3))
    >>> encoded.factor is None
    True
    """

    loc: Tensor
    scale_tril: Tensor | None = None
    scale: Tensor | None = None
    lower: Tensor | None = None
    factor: Tensor | None = None
    amplitude_loc: Tensor | None = None
    amplitude_scale: Tensor | None = None


class Encoder(nn.Module):
    """Two hidden layers, and a linear skip from the features to loc; missing entries are zeros plus a mask.

    The skip leaves the scales alone: linear in a feature, they would run away on an outlier.
    complete: a promise that no entry of `x` is missing; then nothing is spent on the mask.

    >>> import numpy
    >>> from twinplate import ProgramConfig, make_program
    >>> program = make_program(numpy.eye(5, 4), ProgramConfig(4, 3))
    >>> encoder = Encoder(program).double()
    >>> tuple(encoder(torch.zeros(5, 4, dtype=torch.float64)).loc.shape)
    (5, 3)
    """

    center: Tensor
    spread: Tensor
    units: Tensor | None  # (O,) of the perceptron's numbers
    width: Tensor | None  # (K,) of scales
    offset_units: Tensor | None  # (2,)

    def __init__(self, program: ReferenceProgram, complete: bool = False) -> None:
        super().__init__()
        self.complete = complete
        config = self.config = program.config
        d, k, h = config.num_features, config.num_components, config.hidden_width
        self.hidden1 = nn.Linear(config.row_size + d, h)
        self.hidden2 = nn.Linear(h, h)
        self.out = nn.Linear(h, output_size(config))
        self.skip = nn.Linear(self._skip_inputs(config), k, bias=False)
        self.register_buffer("center", torch.as_tensor(program.center))
        self.register_buffer("spread", torch.as_tensor(program.spread))
        perhaps = {"units": output_units(program), "width": program.width}
        for name, values in (perhaps | {"offset_units": program.offset_units}).items():
            self.register_buffer(name, None if values is None else torch.as_tensor(values))

    @staticmethod
    def _skip_inputs(config: ProgramConfig) -> int:
        return config.row_size

    def inputs(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Standardised features with zeros for missing entries, and the missing indicator, both (B, D).

        The indicator is None where the data are complete. The logarithm of an offset is one more feature.
        """
        x, offsets = split_rows(x, self.config)
        logs = None
        if offsets is not None:
            assert self.offset_units is not None
            middle, unit = self.offset_units
            logs = offsets.log() - middle
        features = (working(self.config.likelihood, x, logs) - self.center) / self.spread
        missing = None if self.complete else x.isnan()
        if missing is not None:
            features = features.masked_fill(missing, 0.0)
        if logs is not None:
            features = torch.cat([features, (logs / unit).unsqueeze(-1)], -1)
        return features, None if missing is None else missing.to(x.dtype)

    def network(self, features: Tensor, missing: Tensor | None) -> Tensor:
        """The perceptron alone, (B, O)."""
        silu = nn.functional.silu
        hidden = silu(self.hidden2(silu(self._first(self.near(features), missing))))
        if self.units is None:
            return self.out(hidden)
        weight = self.units.unsqueeze(-1) * self.out.weight
        return nn.functional.linear(hidden, weight, self.units * self.out.bias)

    def near(self, features: Tensor) -> Tensor:
        """The features (B, D), those of far outliers close to zero; as they are where no width is known."""
        if self.width is None:
            return features
        return features / (1 + features.square().mean(-1, keepdim=True) / FAR**2)

    def _first(self, features: Tensor, missing: Tensor | None) -> Tensor:
        if missing is not None:
            return self.hidden1(torch.cat([features, missing], -1))
        weight = self.hidden1.weight[:, : features.shape[-1]]
        return nn.functional.linear(features, weight, self.hidden1.bias)

    def linear(self, inputs: Tensor) -> Tensor:
        """The skip, (B, K), in the units of the perceptron's first K numbers."""
        skipped = self.skip(inputs)
        return skipped if self.units is None else skipped * self.units[: self.config.num_components]

    def parts(self, features: Tensor, missing: Tensor | None) -> dict[str, Tensor]:
        """The perceptron's (B, size) for each of `twinplate.programs.parameters.output_parts`."""
        sizes = output_parts(self.config)
        # A slice each would cost a matrix of zeros each on the way back.
        pieces = self.network(features, missing).split(list(sizes.values()), -1)
        return dict(zip(sizes, pieces, strict=True))

    def forward(self, x: Tensor) -> Encoded:
        features, missing = self.inputs(x)
        part = self.parts(features, missing)
        return Encoded(
            part["loc"] + self.linear(features), lower=part.get("lower"), **self.rest(part)
        )

    def rest(self, part: dict[str, Tensor]) -> dict[str, Tensor]:
        """Scale (B, K), factor (B, K, R), amplitude (B,): those that the perceptron puts out."""
        found = {}
        if "scale" in part:
            scale = positive(part["scale"])
            found["scale"] = scale if self.width is None else self.width * scale
        if "factor" in part:
            found["factor"] = part["factor"].unflatten(-1, (-1, self.config.rank))
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
    >>> encoder = ExpertsEncoder(program).double()
    >>> tuple(encoder(torch.zeros(5, 4, dtype=torch.float64)).loc.shape)
    (5, 3)
    """

    def __init__(self, program: ReferenceProgram, complete: bool = False) -> None:
        super().__init__(program, complete)
        config = program.config
        self.experts = nn.Parameter(torch.zeros(config.num_features, config.num_components))

    @staticmethod
    def _skip_inputs(config: ProgramConfig) -> int:
        return config.row_size + config.num_features

    def forward(self, x: Tensor) -> Encoded:
        features, missing = self.inputs(x)
        part = self.parts(features, missing)
        missing = features.new_zeros(len(x), len(self.experts)) if missing is None else missing
        k, covariance = self.config.num_components, self.config.covariance
        natural = part["natural"] + self.linear(torch.cat([features, missing], -1))
        outer = (self.experts[:, :, None] * self.experts[:, None, :]).flatten(1)
        learned = ((1 - missing) @ outer).unflatten(-1, (k, k))
        precision = learned + positive(part["precision"]).diag_embed()
        scale_tril = scale_tril_of_precision(precision)
        loc = (scale_tril @ (scale_tril.mT @ natural[:, :, None])).squeeze(-1)
        rest = self.rest(part)
        if covariance == "full":
            rest["scale_tril"] = scale_tril
        if covariance == "diagonal":
            rest["scale"] = precision.diagonal(dim1=-2, dim2=-1).rsqrt()
        return Encoded(loc, **rest)


def positive(numbers: Tensor) -> Tensor:
    """softplus(numbers + UNIT_SHIFT), 1 at 0, never 0; by logaddexp, as torch's own is linear above 20."""
    return torch.logaddexp(numbers + UNIT_SHIFT, numbers.new_zeros(())).clamp(min=LEAST_POSITIVE)


def scale_tril_of_precision(precision: Tensor) -> Tensor:
    """Lower Cholesky factor of the inverse: with JΛJ = CCᵀ (J reverses the order), it is J C⁻ᵀ J.

    NaN where there is none, as in JAX: a loss that is not finite is what training looks for.
    """
    flipped, failed = torch.linalg.cholesky_ex(precision.flip(-2, -1))
    flipped = flipped.masked_fill(failed[..., None, None] > 0, torch.nan)
    identity = torch.eye(precision.shape[-1], dtype=precision.dtype, device=precision.device)
    inverse = torch.linalg.solve_triangular(flipped, identity, upper=False)
    return inverse.mT.flip(-2, -1)


ENCODERS = {"mlp": Encoder, "experts": ExpertsEncoder}
