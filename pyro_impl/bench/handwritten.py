"""The reference program written out in torch, without Pyro: what `twinplate bench` measures against.

The work is that of the auxiliary guide with a full covariance: the same encoder, base noise and Adam.
Only the way from the encoder's numbers to `z = loc + L ε` differs, and `FORMS` has them all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pyro_impl.device import find_device, to_tensor
from pyro_impl.torch_private import stays_in_place
from twinplate.bench.workload import SEED, Workload
from twinplate.programs.positive import UNIT_SHIFT
from twinplate.training.plan import Chunk

# flat (B, K (K + 1) / 2), noise (B, K) -> L ε (B, K) and log det L (B,)
Form = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

_BETA1 = 0.9
_BETA2 = 0.999
_EPSILON = 1e-8


def scatter(flat: Tensor, size: int) -> Tensor:
    """L (B, K, K) with its entries scattered into zeros: diagonal first, then row by row."""
    rows, columns = torch.tril_indices(size, size, -1, device=flat.device)
    tril = positive(flat[:, :size]).diag_embed()
    tril[:, rows, columns] = flat[:, size:]
    return tril


def _matrix_form(build: Callable[[Tensor, int], Tensor]) -> Form:
    """L ε by way of L itself."""

    def form(flat: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        tril = build(flat, noise.shape[1])
        log_diagonal = tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return (tril @ noise.unsqueeze(-1)).squeeze(-1), log_diagonal

    return form


def _packed_form(size: int, dtype: torch.dtype, device: torch.device) -> Form:
    """d·ε + (flat · (ε C)) R with constant 0/1 matrices C and R: L is never built."""
    rows, columns = np.tril_indices(size, -1)
    spread = to_tensor(np.eye(size)[:, columns], dtype, device)  # C (K, K (K - 1) / 2)
    gather = to_tensor(np.eye(size)[rows], dtype, device)  # R (K (K - 1) / 2, K)
    _stay([spread, gather])

    def packed(flat: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        diagonal = positive(flat[:, :size])
        value = diagonal * noise + (flat[:, size:] * (noise @ spread)) @ gather
        return value, diagonal.log().sum(-1)

    return packed


def _row_form(size: int, dtype: torch.dtype, device: torch.device) -> Form:
    """d·ε, and the rest of L ε row by row: only the result and the gradient are written to memory."""

    def rows(flat: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        diagonal = positive(flat[:, :size])
        lower: Tensor = _RowByRow.apply(flat[:, size:], noise)
        return diagonal * noise + lower, diagonal.log().sum(-1)

    return rows


class _RowByRow(torch.autograd.Function):
    """The strict lower triangle, packed row by row in `lower` (B, K (K - 1) / 2), times `noise` (B, K)."""

    @staticmethod
    def forward(lower: Tensor, noise: Tensor) -> Tensor:
        rows = lower.split(list(range(noise.shape[1])), 1)
        return torch.stack([(r * noise[:, :i]).sum(1) for i, r in enumerate(rows)], 1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (noise,) = ctx.saved_tensors
        columns = gradient.split(1, 1)
        return torch.cat([c * noise[:, :i] for i, c in enumerate(columns)], 1), None


def _no_triangle(flat: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """The floor: every number of `flat` is used once and no L is formed. No guide, but the same products."""
    size = noise.shape[1]
    # Quadratic, so that the gradient is a full matrix and the product with it cannot be skipped.
    return noise + flat[:, :size], 0.5 * flat[:, size:].square().sum(-1)


# name -> the form for K, a type and a device
FORMS: dict[str, Callable[[int, torch.dtype, torch.device], Form]] = {
    "scatter": lambda *_: _matrix_form(scatter),
    "packed": _packed_form,
    "rows": _row_form,
    "floor": lambda *_: _no_triangle,
}


def positive(numbers: Tensor) -> Tensor:
    """softplus(numbers + UNIT_SHIFT), 1 at 0; by logaddexp, as torch's own is linear above 20."""
    return torch.logaddexp(numbers + UNIT_SHIFT, numbers.new_zeros(()))


def _encode(
    params: dict[str, Tensor], x: Tensor, center: Tensor, spread: Tensor
) -> tuple[Tensor, Tensor]:
    """loc (B, K) and flat (B, K (K + 1) / 2) of a complete mini-batch `x` (B, D)."""
    features = hidden = (x - center) / spread
    for layer in ("hidden1", "hidden2"):
        # Nothing is missing: the missing indicators are zero, and their half of the weights is unused.
        weight = params[f"encoder.{layer}.weight"][:, : hidden.shape[1]]
        bias = params[f"encoder.{layer}.bias"]
        hidden = nn.functional.silu(nn.functional.linear(hidden, weight, bias))
    out = nn.functional.linear(hidden, params["encoder.out.weight"], params["encoder.out.bias"])
    skip = params["encoder.skip.weight"]
    return out[:, : len(skip)] + features @ skip.mT, out[:, len(skip) :]


def _negative_elbo(
    form: Form, fixed: dict[str, Tensor], params: dict[str, Tensor], x: Tensor, noise: Tensor
) -> Tensor:
    """Summed over the mini-batch `x` (B, D), with base noise (B, K)."""
    loc, flat = _encode(params, x, fixed["center"], fixed["spread"])
    spread, log_diagonal = form(flat, noise)
    z = loc + spread
    scale = fixed["noise_scale"]
    misfit = (x - z @ fixed["loadings"].mT - fixed["intercept"]) / scale
    log_density = -0.5 * misfit.square() - scale.log() - 0.5 * math.log(2 * math.pi)
    log_likelihood = log_density.sum()
    # The π of prior and guide cancel.
    log_prior = -0.5 * z.square().sum()
    log_guide = -0.5 * noise.square().sum() - log_diagonal.sum()
    return log_guide - log_prior - log_likelihood


def _make_step(form: Form, fixed: dict[str, Tensor], share: float) -> Callable[..., Tensor]:
    """`step(params, mean, variance, count, data, rate, rows, noise)`: mini-batch, loss, gradient and Adam.

    Parameters, moments and count change in place.
    One function of tensors without a break, so that `torch.compile` makes one graph of it.
    """

    def loss(params: dict[str, Tensor], x: Tensor, noise: Tensor) -> Tensor:
        return share * _negative_elbo(form, fixed, params, x, noise)

    def step(
        params: dict[str, Tensor],
        mean: dict[str, Tensor],
        variance: dict[str, Tensor],
        count: Tensor,
        data: Tensor,
        rate: Tensor,
        rows: Tensor,
        noise: Tensor,
    ) -> Tensor:
        gradients, value = torch.func.grad_and_value(loss)(params, data[rows], noise)
        count += 1
        for name, gradient in gradients.items():
            m, v = mean[name], variance[name]
            m.lerp_(gradient, 1 - _BETA1)
            v.mul_(_BETA2).addcmul_(gradient, gradient, value=1 - _BETA2)
            root = (v / (1 - _BETA2**count)).sqrt() + _EPSILON
            params[name].sub_(rate * (m / (1 - _BETA1**count)) / root)
        return value

    return step


def start(
    work: Workload, form: str, device: str = "cpu", compiled: bool = False
) -> Callable[[Chunk], np.ndarray]:
    """A training run with `form`: called with a chunk, it takes its steps; losses per item (steps,).

    Eager, the optimiser is torch's own fused Adam, the fastest there is; compiled, Adam is part of
    the one graph.
    """
    size, where, dtype = work.size, find_device(device), torch.float32
    fixed = {n: to_tensor(v, dtype, where) for n, v in work.program.fixed.items()}
    made, share = FORMS[form](size.num_components, dtype, where), size.num_items / size.batch_size
    params = {name: to_tensor(v, dtype, where) for name, v in sorted(work.params.items())}
    data = to_tensor(work.x, dtype, where)
    step = (_compiled_step if compiled else _eager_step)(made, fixed, share, params, data)

    def train(chunk: Chunk) -> np.ndarray:
        torch.manual_seed(SEED)
        indices = torch.from_numpy(chunk.indices).to(where)
        shape = (*chunk.indices.shape, size.num_components)
        # One draw for the whole chunk is the fastest way to the noise.
        given = to_tensor(chunk.noise["a_aux"][:, 0], dtype, where) if chunk.noise else None
        noise = torch.randn(shape, dtype=dtype, device=where) if given is None else given
        rates = to_tensor(chunk.rates, dtype, where)
        losses = [step(rates[i], indices[i], noise[i]) for i in range(len(rates))]
        return torch.stack(losses).double().cpu().numpy() / size.num_items

    return train


def _stay(tensors: Iterable[Tensor]) -> None:
    """Tell torch's compiler that these do not move: a CUDA graph can change them and need not copy them."""
    for tensor in tensors:
        if tensor.is_cuda:
            stays_in_place(tensor)


def _eager_step(
    form: Form,
    fixed: dict[str, Tensor],
    share: float,
    params: dict[str, Tensor],
    data: Tensor,
) -> Any:
    leaves = {name: value.requires_grad_() for name, value in params.items()}
    adam = torch.optim.Adam(leaves.values(), lr=torch.tensor(0.0), fused=True)

    def step(rate: Tensor, rows: Tensor, noise: Tensor) -> Tensor:
        value = share * _negative_elbo(form, fixed, leaves, data[rows], noise)
        adam.zero_grad()
        value.backward()
        adam.param_groups[0]["lr"] = rate
        adam.step()
        return value.detach()

    return step


def _compiled_step(
    form: Form,
    fixed: dict[str, Tensor],
    share: float,
    params: dict[str, Tensor],
    data: Tensor,
) -> Any:
    mean, variance = ({n: torch.zeros_like(v) for n, v in params.items()} for _ in range(2))
    count = torch.zeros((), device=data.device)
    _stay([data, count, *(t for held in (fixed, params, mean, variance) for t in held.values())])
    mode = "reduce-overhead" if data.is_cuda else None  # CUDA graphs
    compiled = torch.compile(
        _make_step(form, fixed, share), dynamic=False, fullgraph=True, mode=mode
    )

    def step(rate: Tensor, rows: Tensor, noise: Tensor) -> Tensor:
        value = compiled(params, mean, variance, count, data, rate, rows, noise)
        return value.clone() if value.is_cuda else value  # the graph's own memory is used again

    return step
