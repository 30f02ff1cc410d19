"""`joint_sample`: any number of latent sites of an item, drawn together from one distribution.

    with numpyro.plate("mini_batch", N, subsample_size=B, dim=-1):
        joint_sample("joint", normal, {"a": Local(plates=[components]), "contrast": Local(positive)})

An auxiliary site draws a vector for each item. Each site gets its share of the numbers, by the bijection to
its support, in a `Delta` that has the log density of the map: -log |det of its Jacobian|.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax import Array
from numpyro import handlers
from numpyro.distributions import biject_to, constraints
from numpyro.distributions.util import sum_rightmost

from numpyro_impl.guides.known import apart, density_of_known, known_numbers
from twinplate.errors import InputError
from twinplate.guides.layout import (
    ExtraPlate,
    JointLayout,
    SiteLayout,
    check_items,
    check_joint,
    joint_layout,
)


class Local(NamedTuple):
    """A latent site of an item, as the model has it.

    support: a constraint with a bijection to it, such as `constraints.positive`.
    event_shape: of the site's distribution; () for a number, (3,) for a vector of three.
    plates: those around the site inside of the plate of items, each with its `dim`.
    known: booleans, of the site's batch shape or to be broadcast to it: where the model has a value, by
        `obs_mask`; the site is called `name_unobserved` then.

    >>> Local(constraints.simplex, event_shape=(4,)).image
    (3,)
    """

    support: constraints.Constraint = constraints.real
    event_shape: tuple[int, ...] = ()
    plates: Sequence[numpyro.plate] = ()
    known: Array | None = None

    @property
    def image(self) -> tuple[int, ...]:
        """Shape of an event's unconstrained image."""
        transform = biject_to(self.support)
        dims = len(self.event_shape) + transform.domain.event_dim - transform.codomain.event_dim
        # Bounds may be of a batch shape, which then stands to the left of the image's.
        shape = transform.inverse_shape(self.event_shape)
        return tuple(shape[len(shape) - dims :])


def layout_of(sites: Mapping[str, Local]) -> JointLayout:
    """Where the numbers of each site stand in the joint vector, whose length is `layout_of(sites).size`.

    Raises InputError for a site without a bijection, and for a plate that is subsampled.

    >>> sites = {"scale": Local(constraints.positive), "shares": Local(constraints.simplex, (4,))}
    >>> layout_of(sites).size
    4
    """
    return joint_layout(
        {
            name: (tuple(_extra(name, p) for p in site.plates), _image(name, site))
            for name, site in sites.items()
        }
    )


def joint_sample(
    name: str, normal: dist.Distribution, sites: Mapping[str, Local]
) -> dict[str, Array]:
    """Sample all `sites`, by name, from one draw of `normal` for each item; call it in the plate of items.

    name: of the auxiliary site that draws from `normal`, of event shape (J,), J = `layout_of(sites).size`.
    normal: batch shape as the plates around have it: (B,) in a plate at dim=-1, (B, 1) in one at dim=-2.
    Sites are sampled in the order given; their numbers stand in the vector in the order of their names.

    Numbers of entries that are `known` have nothing to do with the others, and no density in all: the normal
    of the item is that of the rest, and the values are noise, which the model leaves alone.

    Returns the values by name. Raises InputError for a size that does not match, and as `layout_of`; with
    `known` entries for a distribution that is no normal of this package.

    >>> import jax.numpy as jnp
    >>> from numpyro_impl import MultivariateNormal
    >>> normal = MultivariateNormal(jnp.zeros((5, 4)), scale_tril=jnp.eye(4))
    >>> components = numpyro.plate("components", 3, dim=-2)
    >>> sites = {"a": Local(plates=[components]), "contrast": Local(constraints.positive)}
    >>> with numpyro.handlers.seed(rng_seed=0), numpyro.plate("mini_batch", 5, dim=-1):
    ...     values = joint_sample("joint", normal, sites)
    >>> tuple(values["a"].shape), tuple(values["contrast"].shape)
    ((3, 5), (5,))
    """
    layout = layout_of(sites)
    check_joint(name, layout, normal.event_shape)
    batch_shape = normal.batch_shape
    given = {n: site.known for n, site in sites.items() if site.known is not None}
    known = known_numbers(layout, given, batch_shape) if given else None
    if known is not None:
        normal = apart(normal, known)
    vector = numpyro.sample(name, normal, infer={"is_auxiliary": True})
    check_items(name, batch_shape, vector.shape[:-1])
    if known is not None:
        taken_off = dist.Delta(vector, -density_of_known(vector, known), event_dim=1)
        numpyro.sample(f"{name}_known", taken_off, infer={"is_auxiliary": True})
    return {n: _sample(layout[n], site, vector[..., layout[n].slice]) for n, site in sites.items()}


def unpack(layout: SiteLayout, numbers: Array) -> Array:
    """(*batch, size) to the site's batch shape, in its plates, and the image's dims to its right."""
    shape, order = layout.unpacking(numbers.shape[:-1])
    return jnp.transpose(numbers.reshape(shape), order)


def _sample(layout: SiteLayout, site: Local, numbers: Array) -> Array:
    transform = biject_to(site.support)
    image = unpack(layout, numbers)
    value = transform(image)
    jacobian = transform.log_abs_det_jacobian(image, value)
    event_dim = len(site.event_shape)
    log_density = -sum_rightmost(jacobian, jnp.ndim(jacobian) - (value.ndim - event_dim))
    with ExitStack() as stack:
        for plate in site.plates:
            stack.enter_context(plate)
        if site.known is not None:  # as in the model
            stack.enter_context(handlers.mask(mask=~site.known))
        return numpyro.sample(layout.name, dist.Delta(value, log_density, event_dim=event_dim))


def _image(name: str, site: Local) -> tuple[int, ...]:
    try:
        return site.image
    except NotImplementedError:
        raise InputError(
            f"site {name!r} has support {site.support}, to which NumPyro has no bijection; sample it from a "
            "distribution over another support and compute the value from it, or leave it out of the joint"
        ) from None


def _extra(name: str, plate: numpyro.plate) -> ExtraPlate:
    if plate.subsample_size != plate.size:
        raise InputError(
            f"plate {plate.name!r} of site {name!r} is subsampled, {plate.subsample_size} of {plate.size}: "
            "the joint vector has a place for every one; take the plate whole"
        )
    return ExtraPlate(plate.name, plate.size, plate.dim)
