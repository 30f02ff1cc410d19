"""The three guides: independent components, one joint event, or a joint auxiliary sample.

Each maps a mini-batch `x` (B, D) through an encoder and scales by N / B as the model does. An
observed `a` is always (K, B); the guide then scores q(a | x) at it.
"""

from __future__ import annotations

import pyro
import pyro.distributions as dist
from pyro.poutine.runtime import InferDict
from torch import Tensor

from pyro_impl.programs.encoder import Encoded, Encoder
from pyro_impl.programs.models import mini_batch
from pyro_impl.programs.normal import (
    LowRankMultivariateNormal,
    MultivariateNormal,
    PackedMultivariateNormal,
)
from twinplate.programs.shapes import check_observed


def diagonal_guide(
    x: Tensor, a: Tensor | None = None, *, encoder: Encoder, num_items: int | None = None
) -> Tensor:
    """For the component model: `a` (K, B) independent in both plates. Returns `a` (K, B).

    >>> import torch
    >>> import numpy
    >>> from twinplate import ProgramConfig, make_program
    >>> program = make_program(numpy.eye(5, 4), ProgramConfig(4, 3, guide="diagonal", covariance="diagonal"))
    >>> encoder = Encoder(program).double()
    >>> a = diagonal_guide(torch.zeros(5, 4, dtype=torch.float64), encoder=encoder)
    >>> tuple(a.shape)
    (3, 5)
    """
    encoded = _encode(encoder, x, a)
    assert encoded.scale is not None
    with mini_batch(x, num_items):
        _sample_amplitude(encoded)
        # The encoder puts the mini-batch on dim 0; transposed it is on dim=-1, as in the model.
        with pyro.plate("components", encoded.loc.shape[1], dim=-2):
            normal = dist.Normal(encoded.loc.mT, encoded.scale.mT)
            return pyro.sample("a", normal, obs=a, infer=_scored(a))


def event_guide(
    x: Tensor, a: Tensor | None = None, *, encoder: Encoder, num_items: int | None = None
) -> Tensor:
    """For the event model: one multivariate normal per item, `a` (B, K). Returns `a` (K, B).

    >>> import torch
    >>> import numpy
    >>> from twinplate import ProgramConfig, make_program
    >>> program = make_program(numpy.eye(5, 4), ProgramConfig(4, 3, guide="event"))
    >>> encoder = Encoder(program).double()
    >>> a = event_guide(torch.zeros(5, 4, dtype=torch.float64), encoder=encoder)
    >>> tuple(a.shape)
    (3, 5)
    """
    encoded = _encode(encoder, x, a)
    with mini_batch(x, num_items):
        _sample_amplitude(encoded)
        observed = None if a is None else a.mT
        return pyro.sample("a", joint_normal(encoded), obs=observed, infer=_scored(a)).mT


def auxiliary_guide(
    x: Tensor, a: Tensor | None = None, *, encoder: Encoder, num_items: int | None = None
) -> Tensor:
    """For the component model: a joint `a_aux` (B, K), handed to the plated `a` (K, B) by a Delta.

    An observed `a` enters at `a_aux`, transposed; the density belongs there. Returns `a` (K, B).

    >>> import torch
    >>> import numpy
    >>> from twinplate import ProgramConfig, make_program
    >>> program = make_program(numpy.eye(5, 4), ProgramConfig(4, 3, guide="auxiliary"))
    >>> encoder = Encoder(program).double()
    >>> a = auxiliary_guide(torch.zeros(5, 4, dtype=torch.float64), encoder=encoder)
    >>> tuple(a.shape)
    (3, 5)
    """
    encoded = _encode(encoder, x, a)
    with mini_batch(x, num_items):
        _sample_amplitude(encoded)
        observed = None if a is None else a.mT
        joint = joint_normal(encoded)
        a_aux = pyro.sample("a_aux", joint, obs=observed, infer={"is_auxiliary": True})
        if a is not None:
            return a
        with pyro.plate("components", encoded.loc.shape[1], dim=-2):
            return pyro.sample("a", dist.Delta(components_first(a_aux)))


def components_first(a: Tensor) -> Tensor:
    """(B, K) to (K, B). To the left of the plates, (P, 1, B, K) to (P, K, B).

    The 1 is the place of `components` in the batch shape; leaving it in would broadcast silently.

    >>> import torch
    >>> tuple(components_first(torch.zeros((5, 1, 4, 3))).shape)
    (5, 3, 4)
    """
    return a.mT if a.ndim == 2 else a.squeeze(-3).mT


def joint_normal(encoded: Encoded) -> MultivariateNormal | LowRankMultivariateNormal:
    """One multivariate normal per item: batch shape (B,), event shape (K,).

    >>> import torch
    >>> q = joint_normal(Encoded(torch.zeros(5, 3), scale=torch.ones(5, 3)))
    >>> tuple(q.batch_shape), tuple(q.event_shape)
    ((5,), (3,))
    """
    if encoded.scale_tril is not None:
        return MultivariateNormal(encoded.loc, scale_tril=encoded.scale_tril)
    assert encoded.scale is not None
    if encoded.factor is not None:
        return LowRankMultivariateNormal(encoded.loc, encoded.factor, encoded.scale.square())
    none_below = encoded.loc[..., :0]
    lower = none_below if encoded.lower is None else encoded.lower
    return PackedMultivariateNormal(encoded.loc, encoded.scale, lower)


def _encode(encoder: Encoder, x: Tensor, a: Tensor | None) -> Encoded:
    encoded = pyro.module("encoder", encoder)(x)
    if a is not None:
        check_observed(a.shape, encoded.loc.shape[1], x.shape[0])
    return encoded


def _scored(a: Tensor | None) -> InferDict:
    # Observed in the guide, `a` is a term of its own: it stands for no latent of the model.
    return {"is_auxiliary": a is not None}


def _sample_amplitude(encoded: Encoded) -> None:
    if encoded.amplitude_loc is not None:
        pyro.sample("amplitude", dist.LogNormal(encoded.amplitude_loc, encoded.amplitude_scale))


GUIDES = {"diagonal": diagonal_guide, "event": event_guide, "auxiliary": auxiliary_guide}
