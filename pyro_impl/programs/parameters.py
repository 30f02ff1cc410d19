"""Pyro's parameters and the neutral layout of `twinplate.programs.parameters`.

Pyro registers the encoder's parameters as `encoder$$$hidden1.weight`; the neutral name is
`encoder.hidden1.weight`. Weights are (out, in) in both, other parameters have the same name.
"""

from __future__ import annotations

import numpy as np
import pyro
import torch
from torch import Tensor, nn

from twinplate.programs.program import Params


def neutral_name(name: str) -> str:
    """The neutral name of a parameter of Pyro's store."""
    return name.replace("$$$", ".")


def leaves() -> dict[str, Tensor]:
    """The unconstrained parameters of Pyro's current store by neutral name, sorted."""
    found = {neutral_name(n): p for n, p in pyro.get_param_store().named_parameters()}
    return dict(sorted(found.items()))


def to_neutral(values: dict[str, Tensor]) -> Params:
    """Tensors by neutral name as NumPy float64 arrays."""
    return {name: to_numpy(v) for name, v in values.items()}


def to_numpy(values: Tensor) -> np.ndarray:
    """A float64 copy."""
    return values.detach().double().cpu().numpy().copy()


def load_encoder(encoder: nn.Module, params: Params) -> None:
    """Give `encoder` the `encoder.` parameters of the neutral layout, in double precision."""
    encoder.double()
    with torch.no_grad():
        for name, target in encoder.named_parameters():
            target.copy_(torch.from_numpy(np.ascontiguousarray(params[f"encoder.{name}"])))
