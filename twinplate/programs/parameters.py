"""The parameters of a reference program: their names, shapes and first values.

Parameters live in one neutral layout that both twins read and write, a flat dictionary of arrays:

    encoder.hidden1.weight (H, 2D)   encoder.hidden1.bias (H,)    features, then missing indicators
    encoder.hidden2.weight (H, H)    encoder.hidden2.bias (H,)
    encoder.out.weight (O, H)        encoder.out.bias (O,)
    encoder.skip.weight (K, D)       loc, linear in the features    [experts: (K, 2D)]
    encoder.experts (D, K)           one direction per feature      [experts only]
    raw_loadings (D, K)   raw_intercept (D,)   raw_noise_scale (D,)   those that are learned

Weights are (out, in). Every parameter is a plain real number of order one, whatever the units of the
data: the generative ones are stored relative to each feature's `center` and `spread`,

    loadings = spread · raw_loadings,   intercept = center + spread · raw_intercept,
    noise_scale = spread · (NOISE_FLOOR + exp(raw_noise_scale)).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from twinplate.errors import InputError
from twinplate.programs.config import ProgramConfig
from twinplate.programs.linear_gaussian import LinearGaussian
from twinplate.programs.program import NOISE_FLOOR, Array, Params, ReferenceProgram
from twinplate.programs.triangle import packed_size
from twinplate.seeds import generator

UNIT_SHIFT = float(np.log(np.e - 1))  # softplus(UNIT_SHIFT) is 1
# No scale is less. Softplus of what an encoder puts out for a far item is zero in single precision, and one
# zero makes the loss of the mini-batch infinite. Squares and their inverses are finite.
LEAST_POSITIVE = 1e-12


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


def param_shapes(program: ReferenceProgram) -> dict[str, tuple[int, ...]]:
    """The shape of every learned parameter by neutral name: the table above, without drawing a number."""
    config = program.config
    d, h = config.num_features, config.hidden_width
    k, out = config.num_components, output_size(config)
    experts = config.encoder == "experts"
    shapes: dict[str, tuple[int, ...]] = {
        "encoder.hidden1.weight": (h, 2 * d),
        "encoder.hidden1.bias": (h,),
        "encoder.hidden2.weight": (h, h),
        "encoder.hidden2.bias": (h,),
        "encoder.out.weight": (out, h),
        "encoder.out.bias": (out,),
        "encoder.skip.weight": (k, 2 * d if experts else d),
    }
    if experts:
        shapes["encoder.experts"] = (d, k)
    generative = {"loadings": (d, k), "intercept": (d,), "noise_scale": (d,)}
    return shapes | {f"raw_{name}": generative[name] for name in program.learned}


def initial_params(program: ReferenceProgram, seed: int) -> Params:
    """First values of every learned parameter, in the neutral layout, from `seed`.

    Weights are normal with variance 1 / fan-in. Those of the last layer are 100 times smaller and those of
    the skip zero, so that the mlp guide starts close to the standard normal for every item, and the
    experts guide close to one normal around zero. A noise_scale below 1.1 % of a feature's spread is
    raised to that before it is learned.

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
    return {**params, **_raw_generative(program)}


def number_of(positive: npt.ArrayLike) -> Array:
    """What an encoder must put out for positive values: the inverse of softplus(· + UNIT_SHIFT)."""
    values = np.asarray(positive, dtype=np.float64)
    return values + np.log(-np.expm1(-values)) - UNIT_SHIFT


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
    generative, center, spread = program.start, program.center, program.spread
    excess = np.maximum(generative.noise_scale / spread - NOISE_FLOOR, 0.1 * NOISE_FLOOR)
    raw = {
        "loadings": generative.loadings / spread[:, None],
        "intercept": (generative.intercept - center) / spread,
        "noise_scale": np.log(excess),
    }
    return {f"raw_{name}": raw[name] for name in program.learned}


def generative_of(program: ReferenceProgram, params: Params) -> LinearGaussian:
    """The generative parameters in the units of the data: as fixed, or where learned as `params` has them."""
    values = program.start.as_dict()
    center, spread = program.center, program.spread
    raw = {name: params[f"raw_{name}"] for name in program.learned}
    if "loadings" in raw:
        values["loadings"] = spread[:, None] * raw["loadings"]
    if "intercept" in raw:
        values["intercept"] = center + spread * raw["intercept"]
    if "noise_scale" in raw:
        values["noise_scale"] = spread * (NOISE_FLOOR + np.exp(raw["noise_scale"]))
    return LinearGaussian(**values)


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
