"""Why a program is not compiled."""

from __future__ import annotations


class CannotCompileError(Exception):
    """The program has to run eagerly; the message says why."""


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
