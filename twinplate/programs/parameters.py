"""The parameters of a reference program: their names, shapes and first values.

Parameters live in one neutral layout that both twins read and write, a flat dictionary of arrays:

    encoder.hidden1.weight (H, 2D)   encoder.hidden1.bias (H,)    features, then missing indicators
    encoder.hidden2.weight (H, H)    encoder.hidden2.bias (H,)
    encoder.out.weight (O, H)        encoder.out.bias (O,)
    encoder.skip.weight (K, D)       loc, linear in the features    [experts: (K, 2D)]
    encoder.experts (D, K)           one direction per feature      [experts only]
    raw_loadings (D, K)   raw_intercept (D,)   raw_noise_scale (D,)   those that are learned
    raw_concentration (D,)           of the negative binomial, in place of the noise

Where items have offsets, the logarithm of an item's is one more feature of it to the encoder, the last:
hidden1 is (H, 2D + 1), and skip (K, D + 1), or (K, 2D + 1) of experts.

Weights are (out, in). Every parameter is a plain real number of order one, whatever the units of the
data: the generative ones are stored relative to each feature's `center` and `spread`,

    loadings = unit · raw_loadings,   intercept = center + unit · raw_intercept,
    noise_scale = spread · (NOISE_FLOOR + exp(raw_noise_scale)),
    concentration = 1 / (DISPERSION_FLOOR + exp(-raw_concentration)).

The unit of a feature is its spread, or its noise where the start is that of maximum likelihood: steps of one
size are then as small as the noise asks for. So it is with the guide. Where the program knows the `width`
of the posterior, the numbers for loc, factors and triangle are in units of it.
"""

from __future__ import annotations

import numpy as np

from twinplate.errors import InputError
from twinplate.programs.config import ProgramConfig
from twinplate.programs.generalised_linear import GeneralisedLinear
from twinplate.programs.guide_start import posterior_guide
from twinplate.programs.likelihood import DISPERSION_FLOOR
from twinplate.programs.linear_gaussian import LinearGaussian
from twinplate.programs.positive import number_of
from twinplate.programs.program import Array, Params, ReferenceProgram
from twinplate.programs.start import LEAST_NOISE, NOISE_FLOOR
from twinplate.programs.triangle import packed_size
from twinplate.seeds import generator

# The perceptron takes the features of an item divided by 1 + their mean square / FAR², in spreads. What a
# step adds to its numbers for an item grows with the item's size: those for a far outlier would be thrown
# about by steps that all other items hardly notice. For such an item the guide is linear, as it started.
FAR = 4.0


def output_parts(config: ProgramConfig) -> dict[str, int]:
    """What the encoder's perceptron puts out per item, in order: names, and how many numbers each is.

    The mlp encoder puts out loc (K), scale (K) and, by covariance, lower (K (K - 1) / 2, the strict lower
    triangle row by row) or factor (K·R). The experts encoder puts out precision × mean (K) and
    precision (K), and for a low rank scale (K) and factor (K·R) too. An amplitude adds two numbers: loc
    and scale of its logarithm.

    A value that must be positive is softplus(number + UNIT_SHIFT), which is 1 where the number is 0, and
    LEAST_POSITIVE at least.
    Unlike an exponential it grows linearly, and so does not overflow in single precision when a large
    step meets an outlying item.
    """
    k = config.num_components
    experts = config.encoder == "experts"
    parts = {"natural": k, "precision": k} if experts else {"loc": k, "scale": k}
    if config.covariance == "low-rank":
        parts |= {"scale": k, "factor": k * config.rank}
    elif config.covariance == "full" and not experts:
        parts["lower"] = packed_size(k)
    if config.amplitude_scale is not None:
        parts |= {"amplitude_loc": 1, "amplitude_scale": 1}
    return parts


def output_size(config: ProgramConfig) -> int:
    """Numbers per item that the encoder's perceptron puts out (O)."""
    return sum(output_parts(config).values())


def output_units(program: ReferenceProgram) -> Array | None:
    """The unit (O,) of each of the encoder's numbers, in which it learns them; None where all are 1."""
    if program.width is None:
        return None
    config, width = program.config, program.width
    parts = output_parts(config).items()
    return np.concatenate([_units_of(name, size, config.rank, width) for name, size in parts])


def _units_of(part: str, size: int, rank: int, width: Array) -> Array:
    """Those of one of `output_parts`."""
    if part == "natural":
        return 1 / width
    if part == "loc":
        return width
    if part == "lower":
        return width[np.tril_indices(len(width), -1)[0]]
    return np.repeat(width, rank) if part == "factor" else np.ones(size)


def param_shapes(program: ReferenceProgram) -> dict[str, tuple[int, ...]]:
    """The shape of every learned parameter by neutral name: the table above, without drawing a number."""
    config = program.config
    d, h, inputs = config.num_features, config.hidden_width, config.row_size
    k, out = config.num_components, output_size(config)
    experts = config.encoder == "experts"
    shapes: dict[str, tuple[int, ...]] = {
        "encoder.hidden1.weight": (h, inputs + d),
        "encoder.hidden1.bias": (h,),
        "encoder.hidden2.weight": (h, h),
        "encoder.hidden2.bias": (h,),
        "encoder.out.weight": (out, h),
        "encoder.out.bias": (out,),
        "encoder.skip.weight": (k, inputs + d if experts else inputs),
    }
    if experts:
        shapes["encoder.experts"] = (d, k)
    generative: dict[str, tuple[int, ...]] = {"loadings": (d, k)}
    generative |= dict.fromkeys(("intercept", "noise_scale", "concentration"), (d,))
    return shapes | {f"raw_{name}": generative[name] for name in program.learned}


def initial_params(program: ReferenceProgram, seed: int) -> Params:
    """First values of every learned parameter, in the neutral layout, from `seed`.

    Weights are normal with variance 1 / fan-in, and those of the last layer 100 times smaller. Where the
    program knows the width of the posterior, skip, biases and experts are such that the guide starts close
    to the posterior of `program.start` (`twinplate.programs.guide_start`). Elsewhere the skip is zero: the
    mlp guide starts close to the standard normal for every item, and the experts guide close to one
    normal around zero. A noise_scale below LEAST_NOISE of a feature's spread is raised to that before it
    is learned.

    >>> import numpy as np
    >>> from twinplate import ProgramConfig, initial_params, make_program
    >>> x = np.random.default_rng(0).normal(size=(20, 3))
    >>> program = make_program(x, ProgramConfig(3, 2, hidden_width=4, learned=("loadings",)))
    >>> params = initial_params(program, seed=0)
    >>> params["encoder.hidden1.weight"].shape, params["raw_loadings"].shape
    ((4, 6), (3, 2))
    """
    config = program.config
    params: Params = {name: np.zeros(shape) for name, shape in param_shapes(program).items()}
    for name, gain in (("hidden1", 1.0), ("hidden2", 1.0), ("out", 0.01)):
        rows, columns = params[f"encoder.{name}.weight"].shape
        rng = generator(seed, "initial", name)
        weight = gain * rng.standard_normal((rows, columns)) / np.sqrt(columns)
        params[f"encoder.{name}.weight"] = weight
    bias = params["encoder.out.bias"]
    if config.covariance == "low-rank":
        # A factor of zero is a saddle point, as a factor and its negative give the same covariance: there
        # its gradient is zero, and it would never move. Start beside it.
        size = config.num_components * config.rank
        end = len(bias) - (0 if config.amplitude_scale is None else 2)
        rng = generator(seed, "initial", "factor")
        bias[end - size : end] = 0.1 * rng.standard_normal(size)
    if config.amplitude_scale is not None:
        # The guide of the amplitude starts at the prior. From a scale of 1, exp(scale · noise) would vary so
        # much that the first steps went astray.
        bias[-1] = number_of(config.amplitude_scale)
    if config.encoder == "experts":
        rng = generator(seed, "initial", "experts")
        shape = config.num_features, config.num_components
        params["encoder.experts"] = 2.0 * rng.standard_normal(shape) / np.sqrt(shape[0])
    if program.width is not None:
        params |= posterior_guide(program, bias)
    return params | _raw_generative(program)


def check_params(program: ReferenceProgram, params: Params) -> None:
    """Raise InputError, naming the parameter, unless names and shapes are those of `program`."""
    expected = param_shapes(program)
    for name in sorted(expected.keys() | params.keys()):
        given = params[name].shape if name in params else None
        if given != expected.get(name):
            raise InputError(
                f"parameter {name} has shape {given}; expected {expected.get(name)}: the parameters "
                "belong to another configuration"
            )


def _raw_generative(program: ReferenceProgram) -> Params:
    generative, center, spread, unit = program.start, program.center, program.spread, program.unit
    excess = np.maximum(generative.noise_scale / spread, LEAST_NOISE) - NOISE_FLOOR
    learned = program.learned
    raw = {
        "loadings": generative.loadings / unit[:, None],
        "intercept": (generative.intercept - center) / unit,
        "noise_scale": np.log(excess),
    }
    if "concentration" in learned:
        assert program.concentration is not None
        dispersion = np.maximum(1 / program.concentration, 1.01 * DISPERSION_FLOOR)
        raw["concentration"] = -np.log(dispersion - DISPERSION_FLOOR)
    return {f"raw_{name}": raw[name] for name in learned}


def generative_of(program: ReferenceProgram, params: Params) -> LinearGaussian | GeneralisedLinear:
    """The generative parameters in the units of the data: as fixed, or where learned as `params` has them."""
    values = program.start.as_dict()
    likelihood = program.config.likelihood
    center, spread, unit = program.center, program.spread, program.unit
    raw = {name: params[f"raw_{name}"] for name in program.learned}
    if "loadings" in raw:
        values["loadings"] = unit[:, None] * raw["loadings"]
    if "intercept" in raw:
        values["intercept"] = center + unit * raw["intercept"]
    if "noise_scale" in raw:
        values["noise_scale"] = spread * (NOISE_FLOOR + np.exp(raw["noise_scale"]))
    if likelihood == "normal":
        return LinearGaussian(**values).with_features(program.features)
    del values["noise_scale"]  # of the working variable
    concentration = program.concentration
    if "concentration" in raw:
        concentration = 1 / (DISPERSION_FLOOR + np.exp(-raw["concentration"]))
    model = GeneralisedLinear(likelihood, **values, concentration=concentration)
    return model.with_features(program.features)


def linear_gaussian_of(program: ReferenceProgram, params: Params) -> LinearGaussian:
    """`generative_of` of the normal likelihood. Raises InputError of any other, which has no closed forms."""
    model = generative_of(program, params)
    if isinstance(model, GeneralisedLinear):
        raise InputError(
            f"likelihood {model.likelihood!r} has no closed form of evidence and posterior; expected "
            "'normal', or the fit's `generalised` model, `posterior`, `predict` and `evidence_bound`"
        )
    return model


def noise_shapes(config: ProgramConfig, batch_size: int) -> dict[str, tuple[int, ...]]:
    """Shape of the base noise that one particle of the guide takes at each site, by site name."""
    k, b = config.num_components, batch_size
    joint = k + config.rank if config.covariance == "low-rank" else k
    shapes: dict[str, tuple[int, ...]] = {}
    if config.amplitude_scale is not None:
        shapes["amplitude"] = (b,)
    if config.guide == "diagonal":
        shapes["a"] = (k, b)
    else:
        shapes["a" if config.guide == "event" else "a_aux"] = (b, joint)
    return shapes


def prior_noise_shapes(config: ProgramConfig, batch_size: int) -> dict[str, tuple[int, ...]]:
    """Shape of the base noise that one simulation of the model takes at each site, by site name."""
    k, b = config.num_components, batch_size
    shapes: dict[str, tuple[int, ...]] = {
        "a": (b, k) if config.model == "event" else (k, b),
        "x": (b, config.num_features),
    }
    if config.amplitude_scale is not None:
        shapes["amplitude"] = (b,)
    return shapes
