"""The fitted guide's posterior of every item."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import jax
import numpy as np
from jax import Array
from numpyro import handlers
from numpyro.contrib.module import nnx_module

from numpyro_impl.device import DTYPES, find_device, to_array, using
from numpyro_impl.programs.encoder import ENCODERS
from numpyro_impl.programs.guides import joint_normal
from numpyro_impl.programs.parameters import NativeParams, to_native, to_numpy
from twinplate.data.blocks import blocks, fitting
from twinplate.data.frames import aligned, items_of
from twinplate.data.stored import Matrix
from twinplate.programs.linear_gaussian import Gaussian
from twinplate.programs.offsets import with_offsets
from twinplate.programs.parameters import check_params
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
    >>> from numpyro_impl import posterior
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
    >>> from numpyro_impl import posterior_blocks
    >>> from twinplate import ProgramConfig, initial_params, make_program
    >>> x = np.random.default_rng(0).normal(size=(20, 3))
    >>> program = make_program(x, ProgramConfig(num_features=3, num_components=2))
    >>> blocks = posterior_blocks(x, program, initial_params(program, seed=0))
    >>> [block.loc.shape for block in blocks]
    [(20, 2)]
    """
    dtype, where = DTYPES[precision], find_device(device)
    check_params(program, params)
    with using(where, precision):
        encode = _encode(program)
        native = to_native(params, dtype)
    length = fitting(8 * program.config.num_components**2, CHUNK, CHUNK_BYTES)
    x, offsets = items_of(x, program.features), aligned(offsets, x)
    offsets = program.offsets_of(x, offsets)
    for first, block in blocks(x, length=length):
        rows = with_offsets(block, None if offsets is None else offsets[first : first + len(block)])
        with using(where, precision):  # here alone: at `yield` the caller is at work
            found = Gaussian(*(to_numpy(v) for v in encode(native, to_array(rows, dtype))))
        yield program.start.prior_where_empty(block, found)


@lru_cache(maxsize=4)
def _encode(program: ReferenceProgram) -> Callable[[NativeParams, Array], tuple[Array, Array]]:
    """A function of native parameters and items (B, D): their loc (B, K) and scale_tril (B, K, K).

    It is compiled when it is first called, and kept here for later calls with the same program.
    """
    encoder = ENCODERS[program.config.encoder](program)

    @jax.jit
    def encode(params: NativeParams, x: Array) -> tuple[Array, Array]:
        with handlers.substitute(data=params):
            q = joint_normal(nnx_module("encoder", encoder)(x))
        return q.loc, q.scale_tril

    return encode
