"""A model and the guide that fits it, ready for `pyro.infer`, built from a framework-free program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyro
import torch
from torch import Tensor

from pyro_impl.device import to_tensor
from pyro_impl.programs.encoder import ENCODERS, Encoder
from pyro_impl.programs.guides import GUIDES
from pyro_impl.programs.likelihoods import split_rows
from pyro_impl.programs.models import MODELS
from pyro_impl.programs.parameters import load_encoder
from twinplate.programs.likelihood import DISPERSION_FLOOR
from twinplate.programs.parameters import check_params
from twinplate.programs.program import Params, ReferenceProgram
from twinplate.programs.start import NOISE_FLOOR


@dataclass(frozen=True, eq=False)
class Pair:
    """`model(x, a=None, num_items=None)` and `guide` with the same arguments.

    max_plate_nesting: 2 with the components plate, 1 without; what Pyro's ELBO is to be told.

    >>> import numpy as np
    >>> import torch
    >>> from pyro.infer import Trace_ELBO
    >>> from pyro_impl import Pair, build
    >>> from twinplate import ProgramConfig, initial_params, make_program
    >>> x = np.random.default_rng(0).normal(size=(20, 3))
    >>> program = make_program(x, ProgramConfig(num_features=3, num_components=2))
    >>> pair = build(program, initial_params(program, seed=0))
    >>> elbo = Trace_ELBO(max_plate_nesting=pair.max_plate_nesting)
    >>> isinstance(pair, Pair), elbo.loss(pair.model, pair.guide, torch.ones(5, 3)) > 0
    (True, True)
    """

    model: Callable[..., Tensor]
    guide: Callable[..., Tensor]
    encoder: Encoder
    max_plate_nesting: int


def build(
    program: ReferenceProgram,
    params: Params,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    complete: bool = False,
) -> Pair:
    """The pair of `program` with the values of `params` (neutral layout).

    complete: a promise that no entry of `x` is NaN. Model and guide then spend nothing on masks.

    Raises InputError if the parameters are not those of `program`.

    >>> import numpy as np
    >>> import torch
    >>> from pyro_impl import build
    >>> from twinplate import ProgramConfig, initial_params, make_program
    >>> x = np.random.default_rng(0).normal(size=(20, 3))
    >>> program = make_program(x, ProgramConfig(num_features=3, num_components=2))
    >>> pair = build(program, initial_params(program, seed=0))
    >>> pair.guide(torch.ones(5, 3)).shape  # (K, B)
    torch.Size([2, 5])
    """
    check_params(program, params)
    config = program.config
    encoder = ENCODERS[config.encoder](program, complete)
    load_encoder(encoder, params)
    where = torch.device(device)
    encoder.to(dtype=dtype, device=where)
    fixed = {name: to_tensor(v, dtype, where) for name, v in program.fixed.items()}
    raw = {n: to_tensor(params[f"raw_{n}"], dtype, where) for n in program.learned}

    def model(x: Tensor, a: Tensor | None = None, num_items: int | None = None) -> Tensor:
        x, offsets = split_rows(x, config)
        return MODELS[config.model](
            x,
            a,
            **generative(fixed, raw),
            loc=fixed["loc"].unsqueeze(-1),
            scale=fixed["scale"].unsqueeze(-1),
            amplitude_scale=config.amplitude_scale,
            num_items=num_items,
            complete=complete,
            likelihood=config.likelihood,
            offsets=offsets,
        )

    def guide(x: Tensor, a: Tensor | None = None, num_items: int | None = None) -> Tensor:
        return GUIDES[config.guide](x, a, encoder=encoder, num_items=num_items)

    return Pair(model, guide, encoder, 2 if config.model == "component" else 1)


def generative(fixed: dict[str, Tensor], raw: dict[str, Tensor]) -> dict[str, Tensor]:
    """Loadings (D, K), intercept, noise scale and concentration (D,) by name, as fixed or as learned.

    fixed: `ReferenceProgram.fixed`, as arrays.
    raw: first values of the learned ones, in which they are of order one; the formulas that give them
        units are at the head of `twinplate.programs.parameters`.
    """
    names = ("loadings", "intercept", "noise_scale", "concentration")
    values = {name: fixed[name] for name in names if name in fixed}
    learned = {name: pyro.param(f"raw_{name}", first) for name, first in raw.items()}
    center, spread, unit = fixed["center"], fixed["spread"], fixed["unit"]
    if "loadings" in learned:
        values["loadings"] = unit.unsqueeze(-1) * learned["loadings"]
    if "intercept" in learned:
        values["intercept"] = center + unit * learned["intercept"]
    if "noise_scale" in learned:
        values["noise_scale"] = spread * (NOISE_FLOOR + learned["noise_scale"].exp())
    if "concentration" in learned:
        dispersion = DISPERSION_FLOOR + (-learned["concentration"]).exp()
        values["concentration"] = 1 / dispersion
    return values
