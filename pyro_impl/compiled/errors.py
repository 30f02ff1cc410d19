"""Why a program is not compiled."""

from __future__ import annotations

import os


class CannotCompileError(Exception):
    """The program has to run eagerly; the message says why."""


class NotReplayedError(Exception):
    """A replay failed, or its loss is no number; nothing has happened, and Pyro can take the step."""


class EagerWarning(UserWarning):
    """A program, or some of its steps, runs eagerly; the message says why.

    >>> import random
    >>> import warnings
    >>> import pyro
    >>> import pyro.distributions as dist
    >>> import torch
    >>> from pyro_impl import CompiledSVI
    >>> def model():
    ...     mean = pyro.param("mean", torch.tensor(0.0))
    ...     pyro.sample("z", dist.Normal(mean, random.random()), obs=torch.ones(()))
    >>> svi = CompiledSVI(model, lambda: None, pyro.optim.Adam({"lr": 0.01}), pyro.infer.Trace_ELBO())
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", EagerWarning)  # rather stop than run eagerly
    ...     for _ in range(3):
    ...         loss = svi.step()
    Traceback (most recent call last):
        ...
    pyro_impl.compiled.errors.EagerWarning: CompiledSVI runs eagerly: it draws from Python's or NumPy's ...
    """


def compiler_reason(error: BaseException) -> str:
    """What torch's compiler says; that a C++ compiler is missing, which is the usual reason, in our words."""
    chain: list[BaseException] = [error]
    for link in chain:
        chain += [e for e in (link.__cause__, getattr(link, "inner_exception", None)) if e]
    # A compiler looked for by its name alone, in folders of which the user may not read one.
    not_started = (e.filename for e in chain if isinstance(e, PermissionError))
    if any(type(link).__name__ == "InvalidCxxCompiler" for link in chain) or any(
        name and os.sep not in str(name) for name in not_started
    ):
        return "torch.compile finds no C++ compiler; install g++ or clang, or point CXX to one"
    text = str(error).strip().splitlines() or [""]
    return f"torch's compiler failed: {type(error).__name__}: {text[0]}"
