"""`AutoAmortizedNormal`: an automatic guide with one multivariate normal per item over all its latent sites.

    guide = AutoAmortizedNormal(model, "mini_batch", encoder)
    svi = SVI(model, guide, optim, Trace_ELBO())

The encoder maps the data of an item to a vector of features. The guide has the last layer: its size follows
from the model, and it starts at the median of the prior with scale 0.1 and no correlation, in unconstrained
numbers. A linear skip goes from the data to the location alone: in a scale it would run away on an outlier.
Sites outside of the plate of items get another automatic guide.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pyro
import torch
from pyro.infer import RenyiELBO
from pyro.infer.autoguide import AutoGuide, AutoNormal, init_to_median
from torch import Tensor, nn
from torch.distributions import Normal, biject_to
from torch.utils.weak import WeakTensorKeyDictionary

from pyro_impl.capturing import is_captured
from pyro_impl.guides.encoders import Encoder, encode, left_out
from pyro_impl.guides.head import (
    ItemNormal,
    Numbers,
    amortized_numbers,
    item_normal,
    own_numbers,
)
from pyro_impl.guides.inputs import as_numbers, standardized
from pyro_impl.guides.joint import MendedDeltas, joint_sample, unpack
from pyro_impl.guides.known import apart, known_numbers
from pyro_impl.guides.reading import Reading, outside, read_known, read_model
from twinplate.errors import InputError
from twinplate.guides.arguments import (
    first_argument,
    rows_of,
    shapes_of,
    tell_of_integers,
    tell_of_untrained,
)
from twinplate.guides.head import (
    FIRST_SCALE,
    Covariance,
    bad_item,
    check_given_indices,
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
    encoder: from the rows of its inputs (B, ...) to features (B, F), a module or a function, which has
        nothing to train. None: each of the N items has parameters of its own.
    features: from the model's arguments to the encoder's input, or a tuple of several: arrays with the items
        in rows, of all N, of which the mini-batch's are taken, or of the mini-batch alone.
    covariance: "full"; "blocks", no correlation between sites; "low_rank", of rank `rank`, √J unless given;
        or "diagonal".
    global_guide: from the model of the sites outside of the plate to their guide: an automatic guide's class.
    prefix: of the names of parameters and of the auxiliary site, another for each guide in a program.
    create_plates: as in all automatic guides; a model that gives its plate `subsample=` needs it.

    Discrete sites have to be enumerated. Raises InputError at the first use for a model that the guide
    cannot be right for.

    >>> import pyro.distributions as dist
    >>> from pyro.infer import SVI, Trace_ELBO
    >>> def model(x):
    ...     with pyro.plate("mini_batch", len(x), dim=-1):
    ...         contrast = pyro.sample("contrast", dist.LogNormal(0.0, 0.3))
    ...         with pyro.plate("components", 3, dim=-2):
    ...             a = pyro.sample("a", dist.Normal(0.0, 1.0))
    ...         pyro.sample("x", dist.Normal(contrast * a.sum(0), 1.0), obs=x[..., 0])
    >>> guide = AutoAmortizedNormal(model, "mini_batch", nn.Linear(1, 8), prefix="example")
    >>> svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), Trace_ELBO())
    >>> loss = svi.step(torch.randn(5, 1))
    >>> guide.get_posterior(torch.randn(7, 1)).covariance_matrix.shape
    torch.Size([7, 4, 4])
    """

    def __init__(
        self,
        model: Callable[..., Any],
        plate: str,
        encoder: Encoder | None = None,
        *,
        features: Callable[..., Any] = first_argument,
        covariance: str = "full",
        rank: int | None = None,
        global_guide: Callable[[Any], Any] = default_global_guide,
        prefix: str = "auto",
        create_plates: Callable[..., Any] | None = None,
    ) -> None:
        super().__init__(model, create_plates=create_plates)
        self.plate, self.prefix, self.covariance = plate, prefix, Covariance(covariance, rank)
        self.features, self.global_guide = features, global_guide
        self._token = next(_TOKENS)
        self._is_encoder_checked = False
        self._no_plates: dict[str, Any] = {}
        self.plates = self._no_plates
        self._readings: dict[Any, Reading] = {}
        # Put among the modules by hand: read as an attribute, Pyro would register it under a second name.
        self._function: Any = None if isinstance(encoder, nn.Module) else encoder
        if isinstance(encoder, nn.Module):
            self._modules["encoder"] = encoder

    def __getstate__(self) -> dict[str, Any]:
        """For a copy or a pickle, with the model: each run reads it.

        Pyro leaves it out, and takes it from the guide that is copied as well (1.9.2).
        """
        held = {"_model": self._model, "master": self.master}
        state = {**super().__getstate__(), "_model": held["_model"]}
        vars(self).update(held)
        return state

    @property
    def is_amortized(self) -> bool:
        """Whether there is an encoder, or else each item has parameters of its own."""
        return self._function is not None or "encoder" in self._modules

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Sample all latent sites but enumerated ones; returns them by name. Call the guide, not this."""
        reading = self._reading(args, kwargs)
        if reading.shared and is_called_by(RenyiELBO):
            raise InputError(divided_bound(self.plate, reading.shared))
        self._prototype_frames: Any = reading.structure.frames
        plates = self._create_plates(*args, **kwargs)
        rest = self._rest_guide(reading)
        with MendedDeltas():
            values = {} if rest is None else rest(*args, **kwargs)
        with plates[self.plate] as index:
            pass  # which items these are; parameters belong to no plate
        normal = self._normal(reading, args, kwargs, index)
        known = read_known(self.model, reading, index, args, kwargs)
        with plates[self.plate]:
            local = joint_sample(f"{self.prefix}_joint", normal, reading.locals(plates, known))
        # As it was: CompiledSVI repeats only what leaves nothing behind.
        self.plates = self._no_plates
        return {**values, **local}

    def get_posterior(self, *args: Any, **kwargs: Any) -> ItemNormal:
        """The normal of every item in the features of these arguments, new ones too: event shape (J,).

        Its numbers are unconstrained, laid out as in docs/own-model.md; batch shape (N,) for a plate at
        dim=-1. Those of entries that `obs_mask` says are known are standard normal and mean nothing.
        """
        reading = self._reading(args, kwargs)
        normal = self._normal(reading, args, kwargs, None)
        given = read_known(self.model, reading, None, args, kwargs)
        if not given:
            return normal
        known = known_numbers(reading.structure.layout, given, normal.batch_shape)
        return apart(normal, known)

    posterior = get_posterior

    @torch.no_grad()
    def median(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """The median of each latent site, by name, for all items."""
        local = self._values(args, kwargs, self.get_posterior(*args, **kwargs).loc)
        rest = self._outside(args, kwargs)
        return local if rest is None else {**rest.median(*args, **kwargs), **local}

    @torch.no_grad()
    def quantiles(self, quantiles: Sequence[float], *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Quantiles of each latent site's numbers, by name: one more dim at the left, as `quantiles`."""
        normal = self.get_posterior(*args, **kwargs)
        scale = normal.variance.sqrt()
        found = [
            self._values(args, kwargs, normal.loc + scale * Normal(0.0, 1.0).icdf(torch.tensor(q)))
            for q in quantiles
        ]
        local = {name: torch.stack([values[name] for values in found]) for name in found[0]}
        rest = self._outside(args, kwargs)
        return local if rest is None else {**rest.quantiles(quantiles, *args, **kwargs), **local}

    @torch.no_grad()
    def sample_posterior(
        self, *args: Any, sample_shape: Sequence[int] = (), **kwargs: Any
    ) -> dict[str, Tensor]:
        """Draws of each latent site, by name, for all items: (*sample_shape, ...)."""
        shape = torch.Size(sample_shape)
        draws = self.get_posterior(*args, **kwargs).rsample(shape)
        local = self._values(args, kwargs, draws, len(shape))
        rest = self._outside(args, kwargs)
        if rest is None:
            return local
        found = [rest(*args, **kwargs) for _ in range(shape.numel())]
        drawn = {
            name: torch.stack([values[name] for values in found]).reshape(
                shape + found[0][name].shape
            )
            for name in found[0]
        }
        return {**drawn, **local}

    def _check_prototype(self, part_trace: Any) -> None:
        """Called by the guide within: nothing to check, both have read the same model."""

    def _values(
        self, args: Any, kwargs: Any, vectors: Tensor, sample_dims: int = 0
    ) -> dict[str, Tensor]:
        """Values of the local sites, by name, of vectors (*samples, *batch, J)."""
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
        """What a run of the model shows, kept for arguments of the same shapes and plain values."""
        key = shapes_of((args, kwargs))
        if key not in self._readings:
            reading = read_model(self.model, self.plate, args, kwargs)
            if not self._readings:
                again = read_model(self.model, self.plate, args, kwargs)
                check_constant(reading.structure, again.structure)
            self._readings[key] = reading
        return self._readings[key]

    def _outside(self, args: Any, kwargs: Any) -> Any:
        """The guide of sites outside of the plate, None without any. Raises InputError before it has run."""
        rest = self._modules.get("rest")
        if rest is None and (sites := self._reading(args, kwargs).structure.rest):
            raise InputError(not_yet_run(sites))
        return rest

    def _rest_guide(self, reading: Reading) -> Any:
        """The guide of the sites outside of the plate, made when they are first known."""
        structure = reading.structure
        if structure.rest and "rest" not in self._modules:
            rest = self.global_guide(outside(self.model, structure))
            if isinstance(rest, AutoAmortizedNormal):
                check_prefixes(rest.prefix, self.prefix)
            elif self.prefix != "auto":
                rest._pyro_name = f"{rest._pyro_name}_{self.prefix}"
            self._modules["rest"] = rest
        rest = self._modules.get("rest")
        if rest is not None and rest.master is None:  # of a new one, or of one that was copied
            rest._update_master(weakref.ref(self) if self.master is None else self.master)
        return rest

    def _normal(self, reading: Reading, args: Any, kwargs: Any, index: Any) -> ItemNormal:
        """Of the mini-batch's items, or where `index` is None, of all."""
        structure = reading.structure
        numbers = self._numbers(reading, args, kwargs, index)
        self._claim()
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

    def _encode(self, *inputs: Tensor) -> Tensor:
        encoder: Any = self._modules.get("encoder", self._function)
        features = encode(f"{self.prefix}_encoder", encoder, *inputs)
        if not self._is_encoder_checked:
            self._is_encoder_checked = True
            for x in inputs:
                if not (x.is_floating_point() or x.dtype == torch.bool):
                    tell_of_integers(x.shape)
            tell_of_untrained(left_out(encoder, *inputs))
        return features

    def _claim(self) -> None:
        """Raise InputError if another guide made the parameters that this one has found in the store."""
        name = f"{self.prefix}_head_bias" if self.is_amortized else f"{self.prefix}_item_loc"
        value = pyro.param(name)
        leaf = value.unconstrained() if hasattr(value, "unconstrained") else value
        if _OWNERS.setdefault(leaf, self._token) != self._token:
            raise InputError(
                f"the parameter store holds the parameters of another automatic guide with prefix "
                f"{self.prefix!r}, which this one would take over; give it a prefix of its own, or run "
                "pyro.clear_param_store() before; to go on with its values, save the store, clear and load it"
            )

    def _inputs(self, reading: Reading, args: Any, kwargs: Any, index: Any) -> list[Tensor]:
        """The encoder's inputs, a row for each item of the mini-batch, or of all where `index` is None."""
        items = reading.structure.items
        given = self.features(*args, **kwargs)
        inputs = as_numbers(list(given) if isinstance(given, tuple | list) else [given])
        if index is None:
            return standardized(self.prefix, None, inputs, items)
        check_inputs([len(x) for x in inputs], items)
        if reading.given_indices and self.create_plates is None:
            check_given_indices(len(inputs[0]), items)
        batched = items.is_subsampled
        rows = [x[index] if batched and len(x) != items.size else x for x in inputs]
        return standardized(self.prefix, inputs, rows, items)


_TOKENS = itertools.count()
_OWNERS = WeakTensorKeyDictionary()  # first parameter of a guide -> the guide's token


def _check_finite(numbers: Numbers, index: Any) -> None:
    if is_captured():  # captured: an eager step came before
        return
    bad = ~torch.cat(numbers, -1).isfinite().all(-1)
    if bool(bad.any()):
        place = int(bad.nonzero()[0])
        raise InputError(bad_item(place if index is None else int(index[place])))
