"""`AutoAmortizedNormal`: an automatic guide with one multivariate normal per item over all its latent sites.

    guide = AutoAmortizedNormal(model, "mini_batch", encoder)
    svi = SVI(model, guide, optim, Trace_ELBO())

The encoder maps the data of an item to a vector of features. The guide has the last layer: its size follows
from the model, and it starts at the median of the prior with scale 0.1 and no correlation, in unconstrained
numbers. A linear skip goes from the data to the location alone: in a scale it would run away on an outlier.
Sites outside of the plate of items get another automatic guide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import ndtri
from numpyro import handlers
from numpyro.distributions import biject_to
from numpyro.infer import RenyiELBO
from numpyro.infer.autoguide import AutoGuide, AutoNormal
from numpyro.infer.initialization import init_to_median

from numpyro_impl.guides.encoders import Encoder, encode, left_out
from numpyro_impl.guides.head import (
    ItemNormal,
    Numbers,
    amortized_numbers,
    item_normal,
    own_numbers,
)
from numpyro_impl.guides.inputs import as_numbers, standardized
from numpyro_impl.guides.joint import joint_sample, unpack
from numpyro_impl.guides.known import apart, known_numbers
from numpyro_impl.guides.reading import Reading, outside, read_known, read_model
from twinplate.errors import InputError
from twinplate.guides.arguments import first_argument, rows_of, tell_of_integers, tell_of_untrained
from twinplate.guides.head import (
    FIRST_SCALE,
    Covariance,
    bad_item,
    check_inputs,
    check_own_items,
    check_prefixes,
)
from twinplate.guides.structure import check_constant, divided_bound, not_yet_run
from twinplate.user_code import is_called_by

default_global_guide = partial(AutoNormal, init_loc_fn=init_to_median, init_scale=FIRST_SCALE)


class AutoAmortizedNormal(AutoGuide):
    """One multivariate normal per item, over all latent sites in the plate of items, from an encoder.

    model, plate: a model, and the name of its plate of items.
    encoder: from the rows of its inputs (B, ...) to features (B, F), a module (flax, or equinox, of one
        item) or a function, which has nothing to train. None: each of the N items has parameters of its own.
    features: from the model's arguments to the encoder's input, or a tuple of several: arrays with the items
        in rows, of all N, of which the mini-batch's are taken, or of the mini-batch alone.
    covariance: "full"; "blocks", no correlation between sites; "low_rank", of rank `rank`, √J unless given;
        or "diagonal".
    global_guide: from the model of the sites outside of the plate to their guide: an automatic guide's class.
    prefix: of the names of parameters and of the auxiliary site, another for each guide in a program.
    create_plates: as in all automatic guides; a model that gives its plate `subsample=` needs it.

    Discrete sites have to be enumerated. Raises InputError at the first use for a model that the guide
    cannot be right for.

    >>> import numpyro
    >>> import numpyro.distributions as dist
    >>> from flax import nnx
    >>> from numpyro.infer import SVI, Trace_ELBO
    >>> def model(x):
    ...     with numpyro.plate("mini_batch", len(x), dim=-1):
    ...         contrast = numpyro.sample("contrast", dist.LogNormal(0.0, 0.3))
    ...         with numpyro.plate("components", 3, dim=-2):
    ...             a = numpyro.sample("a", dist.Normal(0.0, 1.0))
    ...         numpyro.sample("x", dist.Normal(contrast * a.sum(0), 1.0), obs=x[..., 0])
    >>> guide = AutoAmortizedNormal(model, "mini_batch", nnx.Linear(1, 8, rngs=nnx.Rngs(0)))
    >>> svi = SVI(model, guide, numpyro.optim.Adam(0.01), Trace_ELBO())
    >>> state = svi.init(jax.random.key(0), jnp.ones((5, 1)))
    >>> guide.get_posterior(svi.get_params(state), jnp.ones((7, 1))).covariance_matrix.shape
    (7, 4, 4)
    """

    def __init__(
        self,
        model: Callable[..., Any],
        plate: str,
        encoder: Encoder = None,
        *,
        features: Callable[..., Any] = first_argument,
        covariance: str = "full",
        rank: int | None = None,
        global_guide: Callable[[Any], Any] = default_global_guide,
        prefix: str = "auto",
        create_plates: Callable[..., Any] | None = None,
    ) -> None:
        super().__init__(model, prefix=prefix, create_plates=create_plates)
        self.plate, self.covariance = plate, Covariance(covariance, rank)
        self.encoder: Any = encoder
        self.features, self.global_guide = features, global_guide
        self._rest: Any = None
        self._is_checked = False
        self._is_encoder_checked = False

    @property
    def is_amortized(self) -> bool:
        """Whether there is an encoder, or else each item has parameters of its own."""
        return self.encoder is not None

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Array]:
        """Sample all latent sites but enumerated ones; returns them by name."""
        reading = self._reading(args, kwargs)
        if reading.shared and is_called_by(RenyiELBO):
            raise InputError(divided_bound(self.plate, reading.shared))
        self._prototype_frames = dict(reading.structure.frames)
        self._prototype_frame_full_sizes = {
            name: frame.full_size for name, frame in reading.structure.frames.items()
        }
        self.plates = self._create_plates(*args, **kwargs)
        rest = self._rest_guide(reading)
        values = {} if rest is None else rest(*args, **kwargs)
        with self.plates[self.plate] as index:
            pass  # which items these are; parameters belong to no plate
        normal = self._normal(reading, args, kwargs, index)
        known = read_known(self.model, reading, index, args, kwargs)
        with self.plates[self.plate]:
            local = joint_sample(f"{self.prefix}_joint", normal, reading.locals(self.plates, known))
        return {**values, **local}

    def get_posterior(self, params: dict[str, Any], *args: Any, **kwargs: Any) -> ItemNormal:
        """The normal of every item in the features of these arguments, new ones too: event shape (J,).

        Its numbers are unconstrained, laid out as in docs/own-model.md; batch shape (N,) for a plate at
        dim=-1. Those of entries that `obs_mask` says are known are standard normal and mean nothing.
        """
        with handlers.block(), handlers.seed(rng_seed=0), handlers.substitute(data=params):
            reading = self._reading(args, kwargs)
            normal = self._normal(reading, args, kwargs, None)
        given = read_known(self.model, reading, None, args, kwargs)
        if not given:
            return normal
        known = known_numbers(reading.structure.layout, given, normal.batch_shape)
        return apart(normal, known)

    posterior = get_posterior

    def median(self, params: dict[str, Any], *args: Any, **kwargs: Any) -> dict[str, Array]:
        """The median of each latent site, by name, for all items."""
        loc = self.get_posterior(params, *args, **kwargs).loc
        local = self._values(args, kwargs, loc)
        if self._outside(args, kwargs) is None:
            return local
        given, named = self._rest_arguments(args, kwargs)
        return {**self._rest.median(params, *given, **named), **local}

    def quantiles(
        self, params: dict[str, Any], quantiles: Sequence[float], *args: Any, **kwargs: Any
    ) -> dict[str, Array]:
        """Quantiles of each latent site's numbers, by name: one more dim at the left, as `quantiles`."""
        normal = self.get_posterior(params, *args, **kwargs)
        scale = jnp.sqrt(normal.variance)
        found = [self._values(args, kwargs, normal.loc + scale * ndtri(q)) for q in quantiles]
        local = {name: jnp.stack([values[name] for values in found]) for name in found[0]}
        if self._outside(args, kwargs) is None:
            return local
        given, named = self._rest_arguments(args, kwargs)
        return {**self._rest.quantiles(params, quantiles, *given, **named), **local}

    def sample_posterior(
        self,
        rng_key: Array,
        params: dict[str, Any],
        *args: Any,
        sample_shape: Sequence[int] = (),
        **kwargs: Any,
    ) -> dict[str, Array]:
        """Draws of each latent site, by name, for all items: (*sample_shape, ...)."""
        shape, (local_key, rest_key) = tuple(sample_shape), jax.random.split(rng_key)
        draws = self.get_posterior(params, *args, **kwargs).sample(local_key, shape)
        local = self._values(args, kwargs, draws, len(shape))
        if self._outside(args, kwargs) is None:
            return local
        rest = self._rest.sample_posterior(rest_key, params, *args, sample_shape=shape, **kwargs)
        return {**rest, **local}

    def _values(
        self, args: Any, kwargs: Any, vectors: Array, sample_dims: int = 0
    ) -> dict[str, Array]:
        """Values of the local sites, by name, of vectors (*samples, *batch, J)."""
        with handlers.block(), handlers.seed(rng_seed=0):
            reading = self._reading(args, kwargs)
        layout, values = reading.structure.layout, {}
        for site in reading.structure.local:
            numbers = vectors[..., layout[site.name].slice]
            samples, batch = numbers.shape[:sample_dims], numbers.shape[sample_dims:-1]
            missing = max(-f.dim for f in site.frames) - len(batch)
            numbers = numbers.reshape(*samples, *(1,) * missing, *batch, numbers.shape[-1])
            to_support = biject_to(reading.supports[site.name])
            values[site.name] = to_support(unpack(layout[site.name], numbers))
        return values

    def _reading(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Reading:
        """What a run of the model shows. Nothing is kept: it may hold arrays that JAX is tracing."""
        reading = read_model(self.model, self.plate, args, kwargs)
        if not self._is_checked:
            # With a key of its own: a guide that has run before draws the same numbers as a new one.
            with handlers.block(), handlers.seed(rng_seed=2**31 - 1):
                again = read_model(self.model, self.plate, args, kwargs)
            check_constant(reading.structure, again.structure)
            self._is_checked = True
        return reading

    def _rest_guide(self, reading: Reading) -> Any:
        """The guide of the sites outside of the plate, made when they are first known."""
        structure = reading.structure
        if structure.rest and self._rest is None:
            rest = self.global_guide(outside(self.model, structure))
            if isinstance(rest, AutoAmortizedNormal):
                check_prefixes(rest.prefix, self.prefix)
            else:
                rest.prefix = self.prefix
            # Not by create_plates: TraceEnum_ELBO has plates of another class, which it would refuse.
            rest._create_plates = lambda *args, **kwargs: self.plates
            self._rest = rest
        return self._rest

    def _outside(self, args: Any, kwargs: Any) -> Any:
        """The guide of sites outside of the plate, None without any. Raises InputError before it has run."""
        if self._rest is None:
            with handlers.block(), handlers.seed(rng_seed=0):
                sites = self._reading(args, kwargs).structure.rest
            if sites:
                raise InputError(not_yet_run(sites))
        return self._rest

    def _rest_arguments(self, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """NumPyro's own guides know their medians without the model's arguments."""
        return (args, kwargs) if isinstance(self._rest, AutoAmortizedNormal) else ((), {})

    def _normal(self, reading: Reading, args: Any, kwargs: Any, index: Any) -> ItemNormal:
        """Of the mini-batch's items, or where `index` is None, of all."""
        structure = reading.structure
        numbers = self._numbers(reading, args, kwargs, index)
        ones = (1,) * (-structure.items.dim - 1)
        loc, scale, rest = (n.reshape(n.shape[0], *ones, n.shape[-1]) for n in numbers)
        return item_normal(loc, scale, rest, structure.layout, self.covariance)

    def _numbers(self, reading: Reading, args: Any, kwargs: Any, index: Any) -> Numbers:
        """loc, scale and rest, a row for each item."""
        structure = reading.structure
        items, shared = structure.items, (structure.layout, self.covariance, reading.median)
        if self.is_amortized:
            inputs = self._inputs(reading, args, kwargs, index)
            features = self._encode(*inputs)
            numbers = amortized_numbers(self.prefix, inputs, features, *shared)
            _check_finite(numbers, index)
            return numbers
        if items.is_subsampled:
            check_own_items(rows_of(self.features(*args, **kwargs)), items)
        numbers = own_numbers(self.prefix, items.full_size, *shared)
        if index is None or not items.is_subsampled:
            return numbers
        loc, scale, rest = numbers
        return loc[index], scale[index], rest[index]

    def _encode(self, *inputs: Array) -> Array:
        if not self._is_encoder_checked:
            self._is_encoder_checked = True
            for x in inputs:
                if jnp.issubdtype(x.dtype, jnp.integer):
                    tell_of_integers(x.shape)
            with handlers.block():
                tell_of_untrained(left_out(self.encoder, *inputs))
        return encode(f"{self.prefix}_encoder", self.encoder, *inputs)

    def _inputs(self, reading: Reading, args: Any, kwargs: Any, index: Any) -> list[Array]:
        """The encoder's inputs, a row for each item of the mini-batch, or of all where `index` is None."""
        items = reading.structure.items
        given = self.features(*args, **kwargs)
        inputs = as_numbers(list(given) if isinstance(given, tuple | list) else [given])
        if index is None:
            return standardized(self.prefix, None, inputs, items)
        check_inputs([len(x) for x in inputs], items)
        batched = items.is_subsampled
        rows = [x[index] if batched and len(x) != items.size else x for x in inputs]
        return standardized(self.prefix, inputs, rows, items)

    def __getstate__(self) -> dict[str, Any]:
        # The guide of the sites outside keeps arrays of a run; a copy makes its own.
        return {**super().__getstate__(), "_rest": None}


def _check_finite(numbers: Numbers, index: Any) -> None:
    together = jnp.concatenate(numbers, -1)
    if isinstance(together, jax.core.Tracer):  # no value to look at
        return
    bad = ~jnp.isfinite(together).all(-1)
    if bad.any():
        place = int(bad.argmax())
        raise InputError(bad_item(place if index is None else int(index[place])))
