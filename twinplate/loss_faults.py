"""Losses of Pyro and NumPyro that are wrong for some programs, in silence: how each of them is told.

A sentence for each, which the warning of both `CompiledSVI` and the explanations of `verify` share.
docs/known-differences.md measures every one of them against a closed form.
"""

from __future__ import annotations


class WrongLossWarning(UserWarning):
    """A loss, its gradient or a guide is not that of the program; the message says why and what to do.

    The framework itself says nothing, and `CompiledSVI` returns the numbers that the framework does.

    >>> import warnings
    >>> import pyro, pyro.distributions as dist
    >>> from pyro.infer import TraceMeanField_ELBO
    >>> from pyro.infer.autoguide import AutoNormal
    >>> from pyro_impl import CompiledSVI
    >>> def model():
    ...     pyro.sample("rate", dist.LogNormal(0.0, 1.0))
    >>> adam, loss = pyro.optim.Adam({"lr": 0.01}), TraceMeanField_ELBO()
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", WrongLossWarning)  # rather stop
    ...     CompiledSVI(model, AutoNormal(model), adam, loss).step()
    Traceback (most recent call last):
        ...
    twinplate.loss_faults.WrongLossWarning: Pyro's TraceMeanField_ELBO leaves out the log density ...
    """


def delta_density(site: str) -> str:
    """The Jacobian of a bijection is lost, as in automatic guides on constrained latents."""
    return (
        f"Pyro's TraceMeanField_ELBO leaves out the log density of the Delta at site {site!r}, the Jacobian "
        "of the map that made its value: the loss is wrong and so is its optimum; use Trace_ELBO"
    )


def divergence_factors(site: str) -> str:
    """The KL of a site takes its scale, in Pyro its mask too, from the guide alone."""
    return (
        f"TraceMeanField_ELBO takes the scale of the divergence of site {site!r}, in Pyro its mask too, from "
        "the guide alone, and the model's are others: put the same around both, or use Trace_ELBO"
    )


def squared_scale(site: str) -> str:
    """The score-function term is scaled twice."""
    return (
        f"NumPyro's TraceGraph_ELBO multiplies the score-function term of site {site!r} by the square of its "
        "scale (the factor N/B of a mini-batch, or handlers.scale): the loss is right, its gradient is not; "
        "use TraceEnum_ELBO, which need not enumerate"
    )


def joint_density(site: str, plate: str) -> str:
    """Rényi's bound subtracts the density of a joint site once for every item of a plate."""
    return (
        f"RenyiELBO subtracts the density of the guide's site {site!r} once for every item of plate "
        f"{plate!r}, because all sites of the model are in that plate and this one is not: sample it inside "
        "of the plate, item by item, or use Trace_ELBO"
    )


def inner_factor(plate: str) -> str:
    """Rényi's bound of a mini-batch has N/B inside of its logarithm of a mean."""
    return (
        f"Pyro's RenyiELBO multiplies the log weights by the factor N/B of plate {plate!r} before it takes "
        "the logarithm of their mean, not after: the bound and its gradient are wrong; take all items in a "
        "step, or one particle"
    )


def enumerated_scan() -> str:
    """The sum over the states of an enumerated `scan` is not taken step by step."""
    return (
        "NumPyro's TraceEnum_ELBO is known to return a wrong loss for an enumerated scan, silently: "
        "the sites agree, the loss does not; unroll the loop or marginalise by hand"
    )


def unchecked_shapes(site: str, guide: tuple[int, ...], model: tuple[int, ...]) -> str:
    """The guide's site has another shape than the model's."""
    return (
        f"the guide draws site {site!r} with shape {guide}, the model has {model}: NumPyro's TraceEnum_ELBO "
        "does not check that, as all other losses do, and is wrong; put the guide's site in the plates of "
        "the model's"
    )


def mixed_items(site: str) -> str:
    """A batched automatic guide of several sites joins numbers of different items."""
    return (
        f"NumPyro's batched automatic guides pack site after site into {site!r} and cut that into rows, so "
        "with several latent sites a row holds numbers of different items, which are then correlated, and "
        "those of one item are not; join the sites to one, or write the guide by hand"
    )
