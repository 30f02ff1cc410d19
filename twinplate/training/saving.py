"""A fit that was made in Python as the run directory that the command line would have written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from twinplate.backends import BACKENDS
from twinplate.data.columns import default_name
from twinplate.data.frames import aligned, items_of
from twinplate.data.stored import Matrix, matrix_of
from twinplate.data.table import fingerprint
from twinplate.errors import InputError
from twinplate.programs.config import TrainingConfig
from twinplate.programs.program import ReferenceProgram
from twinplate.training.run_directory import save_run, versions
from twinplate.training.run_format import SavedRun
from twinplate.training.state import Fit
from twinplate.words import counted


def save(
    fit: Fit,
    path: Path | str,
    x: Any,
    training: TrainingConfig,
    *,
    backend: str,
    offsets: Any = None,
    offset_column: str = "",
) -> None:
    """Write `fit` to the new run directory `path`, whole or not at all; `load` and every command read it.

    x: what it was fitted to, (N, D); `twinplate fit --resume` asks for the same again.
    training: how.  backend: by which twin, "pyro" or "numpyro".
    offsets: (N,), of counts that were fitted with given ones.  offset_column: what the column of them is
        called in files, where the commands are to find those of their items.

    Raises InputError where `path` exists or cannot be written, where `fit` does not say of which program it
    is or has not the losses of all its steps, as one that went on from another fit, for an `x` of
    another shape, and for offsets without the name of their column, or the name without them.

    >>> import numpy as np
    >>> from twinplate import Fit, ProgramConfig, TrainingConfig, TrainingState
    >>> from twinplate import initial_params, load, make_program, save
    >>> x = np.random.default_rng(0).normal(size=(50, 3))
    >>> program = make_program(x, ProgramConfig(num_features=3, num_components=1))
    >>> fit = Fit(TrainingState.start(initial_params(program, 0)), np.zeros(0), program=program)
    >>> save(fit, "RUN", x, TrainingConfig(steps=100, batch_size=10), backend="numpyro")
    >>> bool((load("RUN").loadings == fit.loadings).all())
    True
    """
    if backend not in BACKENDS:
        raise InputError(f"backend is {backend!r}; expected {' or '.join(map(repr, BACKENDS))}")
    program, state = fit.program, fit.state
    if program is None:
        raise InputError("this fit does not say of which program; expected what `fit` returns")
    if len(fit.losses) != state.step:
        raise InputError(
            f"the fit has {counted(len(fit.losses), 'loss', 'losses')} of {counted(state.step, 'step')}; "
            "expected that of every step: join them with those of the fit that it went on from"
        )
    matrix, offsets = matrix_of(items_of(x, program.features)), aligned(offsets, x)
    features = program.config.num_features
    if matrix.ndim != 2 or matrix.shape[1] != features:
        raise InputError(f"x has shape {tuple(matrix.shape)}; expected (N, {features})")
    columns = list(program.features or _default_names(features, but=offset_column))
    data = {
        "fingerprint": fingerprint(matrix),
        "num_items": len(matrix),
        "num_features": features,
        "columns": columns,
        "named": bool(program.features),
        "id_columns": [],
        "left_out": [offset_column] if offset_column else [],
        **_offset_entries(program, matrix, columns, offsets, offset_column),
    }
    config = {
        "backend": backend,
        "program": program.config.as_dict(),
        "training": training.for_items(len(matrix)).as_dict(),
    }
    losses = np.asarray(fit.losses)
    run = SavedRun.of_state(state, config, data, versions(), program, losses, fit.notes)
    save_run(Path(path), run)


def _default_names(count: int, but: str) -> list[str]:
    """Those of the first columns of a file without names, one of which holds no feature."""
    return [name for name in map(default_name, range(count + 1)) if name != but][:count]


def _offset_entries(
    program: ReferenceProgram, x: Matrix, columns: Sequence[str], offsets: Any, column: str
) -> dict[str, str]:
    """What a run says of the offsets that it was fitted with. Raises InputError unless it can say it."""
    if offsets is None and program.config.offset != "given":
        if column:
            raise InputError(
                f"offset_column is {column!r} and offsets are not given; expected both, or neither"
            )
        return {}
    found = program.offsets_of(x, offsets)
    assert found is not None
    if not column:
        raise InputError(
            "the offsets are given and nothing says in which column of a file the commands find those of "
            "their items; expected its name, such as offset_column='depth'"
        )
    if column in columns:
        raise InputError(f"offset_column is {column!r}, a feature; expected a column beside them")
    return {"offset": column, "offset_fingerprint": fingerprint(found[:, None])}
