"""The fitted guide's posterior of every item."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from pyro_impl.device import DTYPES, find_device, to_tensor
from pyro_impl.programs.assembly import build
from pyro_impl.programs.guides import joint_normal
from pyro_impl.programs.parameters import to_numpy
from twinplate.data.blocks import blocks, fitting
from twinplate.data.frames import aligned, items_of
from twinplate.data.stored import Matrix
from twinplate.programs.linear_gaussian import Gaussian
from twinplate.programs.offsets import with_offsets
from twinplate.programs.program import Params, ReferenceProgram

CHUNK = 4096  # items that are encoded at once, or fewer, so that
CHUNK_BYTES = 2**27  # their covariances take no more than this


def posterior(
    x: Matrix,
    program: ReferenceProgram,
    params: Params,
    *,
    offsets: np.ndarray | None = None,
    precision: str = "float64",
    device: str = "cpu",
) -> Gaussian:
    """q(a | x) of every item of `x` (N, D), NaN where missing: loc (N, K), scale_tril (N, K, K).

    params: of a fit (`Fit.params`), neutral layout.  precision: "float32" or "float64".
    device: "auto", "cpu" or "gpu".  offsets: (N,), of counts; by default what the program says.

    Of an item without any entry it is the prior; with an amplitude it is the guide's factor for `a`. Raises
    InputError for arrays that do not fit.

    >>> import numpy as np
    >>> from pyro_impl import posterior
    >>> from twinplate import ProgramConfig, initial_params, make_program
    >>> x = np.random.default_rng(0).normal(size=(20, 3))
    >>> program = make_program(x, ProgramConfig(num_features=3, num_components=2))
    >>> posterior(x, program, initial_params(program, seed=0)).scale_tril.shape
    (20, 2, 2)
    """
    given = x, program, params
    parts = list(posterior_blocks(*given, offsets=offsets, precision=precision, device=device))
    return Gaussian(
        *(np.concatenate([getattr(p, n) for p in parts]) for n in ("loc", "scale_tril"))
    )


def posterior_blocks(
    x: Matrix,
    program: ReferenceProgram,
    params: Params,
    *,
    offsets: np.ndarray | None = None,
    precision: str = "float64",
    device: str = "cpu",
) -> Iterator[Gaussian]:
    """`posterior` in parts: of a few thousand consecutive items each, for data or results beyond memory.

    Arguments and errors as in `posterior`; `x` may be a memory map.

    >>> import numpy as np
    >>> from pyro_impl import posterior_blocks
    >>> from twinplate import ProgramConfig, initial_params, make_program
    >>> x = np.random.default_rng(0).normal(size=(20, 3))
    >>> program = make_program(x, ProgramConfig(num_features=3, num_components=2))
    >>> blocks = posterior_blocks(x, program, initial_params(program, seed=0))
    >>> [block.loc.shape for block in blocks]
    [(20, 2)]
    """
    dtype, where = DTYPES[precision], find_device(device)
    encoder = build(program, params, dtype, where).encoder
    length = fitting(8 * program.config.num_components**2, CHUNK, CHUNK_BYTES)
    x, offsets = items_of(x, program.features), aligned(offsets, x)
    offsets = program.offsets_of(x, offsets)
    for first, block in blocks(x, length=length):
        rows = with_offsets(block, None if offsets is None else offsets[first : first + len(block)])
        with torch.no_grad():  # here alone: at `yield` the caller is at work
            q = joint_normal(encoder(to_tensor(rows, dtype, where)))
            found = Gaussian(to_numpy(q.loc), to_numpy(q.scale_tril))
        yield program.start.prior_where_empty(block, found)
