"""What NumPyro's params and the state of its SVI hold: as arrays, and back."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.example_libraries.optimizers import OptimizerState
from jax.tree_util import keystr, tree_flatten_with_path
from numpyro.infer import SVI
from numpyro.infer.svi import SVIState
from numpyro.infer.util import transform_fn
from numpyro.optim import Adam, ClippedAdam
from optax import ScaleByAdamState

from twinplate.conversion.trained_file import Trained
from twinplate.errors import InputError


def trained(svi: SVI, state: SVIState) -> Trained:
    """What a state of `svi` holds: parameters, and where its optimiser stands.

    state: of the `init`, `update` or `run` of `svi`, whose optimiser is Adam or ClippedAdam of NumPyro, or
        has optax' `scale_by_adam` in it. Raises InputError for another.

    >>> import numpyro
    >>> def model():
    ...     numpyro.param("loc", jnp.zeros(2))
    >>> svi = SVI(model, lambda: None, Adam(0.1), numpyro.infer.Trace_ELBO())
    >>> taken = trained(svi, svi.init(jax.random.key(0)))
    >>> taken.params["loc"].shape, taken.mean["loc"].shape, taken.steps
    ((2,), (2,), {'loc': 0})
    """
    params = flat_params(svi.get_params(state))
    count, mean, variance = _moments(svi, state)
    steps = dict.fromkeys(params, count)
    return Trained(params, flat_params(mean), flat_params(variance), steps)


def restore(trained: Trained, svi: SVI, state: SVIState) -> SVIState:
    """The state with other parameters and moments, to go on from.

    state: of `svi.init`. A parameter without moments has moments of 0; NumPyro's Adam counts the steps of all
    parameters together. Running statistics, and the random key, are those of `state`.

    Raises InputError for a parameter that the state has not, or has in another shape.

    >>> import numpyro
    >>> def model():
    ...     numpyro.param("loc", jnp.zeros(2))
    >>> svi = SVI(model, lambda: None, Adam(0.1), numpyro.infer.Trace_ELBO())
    >>> state = restore(Trained({"loc": np.ones(2)}), svi, svi.init(jax.random.key(0)))
    >>> svi.get_params(state)["loc"].tolist()
    [1.0, 1.0]
    """
    if not isinstance(svi.constrain_fn, partial):
        raise InputError("svi has no constraints yet; make the state with svi.init(key, ...)")
    params = to_params(trained, svi.get_params(state))
    numbers = transform_fn(svi.constrain_fn.args[0], params, invert=True)
    if not trained.mean:
        return state._replace(optim_state=svi.optim.init(numbers))
    counts = set(trained.steps.values())
    if len(counts) != 1:
        raise InputError(
            f"the parameters have taken {', '.join(map(str, sorted(counts)))} steps of Adam; expected one "
            "number: NumPyro's Adam counts the steps of all parameters together"
        )
    shown = svi.optim.get_params(state.optim_state)
    mean, variance = (
        _unflattened({n: np.asarray(x) for n, x in m.items()}, jax.tree.map(jnp.zeros_like, shown))
        for m in (trained.mean, trained.variance)
    )
    return state._replace(
        optim_state=_with_adam(svi, state.optim_state, counts.pop(), numbers, mean, variance)
    )


def to_params(trained: Trained, like: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """NumPyro's params: for `Predictive`, or as `init_params` of `SVI` and `CompiledSVI`.

    like: params of the program, whose trees are used and whose other parameters stay; without it trees are
    nested dictionaries, as those of flax are.

    >>> params = to_params(Trained({"net$params/kernel": np.ones(2), "loc": np.zeros(1)}))
    >>> params["net$params"]["kernel"].shape, list(params)
    ((2,), ['net$params', 'loc'])
    """
    if like is not None:
        return _unflattened(trained.params, like)
    params: dict[str, Any] = {}
    for name, values in trained.params.items():
        *outer, last = name.split("/")
        inner = params
        for key in outer:
            inner = inner.setdefault(key, {})
        inner[last] = jnp.asarray(values)
    return params


def flat_params(params: Any) -> dict[str, np.ndarray]:
    """Arrays of NumPyro's params by name, those of trees as "net$params/Dense_0/kernel"."""
    other = [name for name, x in _leaves(params) if np.asarray(x).dtype.kind not in "fiubV"]
    if other:
        raise InputError(
            f"params hold {other[0] or params!r}; expected arrays by name, as svi.get_params gives"
        )
    return {
        name: np.asarray(leaf)
        for name, leaf in _leaves(params)
        if jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
    }


def _leaves(tree: Any) -> list[tuple[str, Array]]:
    return [(keystr(p, simple=True, separator="/"), x) for p, x in tree_flatten_with_path(tree)[0]]


def _unflattened(flat: Mapping[str, np.ndarray], like: Any) -> Any:
    """The tree with leaves replaced by those of `flat`, in its own types."""
    leaves = _leaves(like)
    unknown = sorted(set(flat) - {name for name, _ in leaves})
    if unknown:
        raise InputError(
            f"the program has no parameter {', '.join(map(repr, unknown))}; it has "
            f"{', '.join(name for name, _ in leaves) or 'none'}"
        )
    for name, leaf in leaves:
        if name in flat and flat[name].shape != jnp.shape(leaf):
            raise InputError(
                f"parameter {name!r} has shape {flat[name].shape}; expected {jnp.shape(leaf)}"
            )
    new = [jnp.asarray(flat[n], jnp.result_type(x)) if n in flat else x for n, x in leaves]
    return jax.tree.unflatten(jax.tree.structure(like), new)


# -- Adam's moments, in the state of JAX's own optimiser or of optax ------------------------------------


def _is_adam(node: Any) -> bool:
    return isinstance(node, OptimizerState | ScaleByAdamState)


def _has_count(node: Any) -> bool:
    return "count" in getattr(node, "_fields", ()) and not _is_adam(node)


def _state_of(svi: SVI, optim_state: Any) -> Any:
    """The one state of Adam in that of the optimiser. Raises InputError where there is none."""
    found = [n for n in jax.tree.leaves(optim_state, is_leaf=_is_adam) if _is_adam(n)]
    optim = getattr(svi.optim, "optim", svi.optim)  # CompiledSVI's stands before the user's
    ours = isinstance(optim, Adam | ClippedAdam)
    if len(found) != 1 or not (ours or isinstance(found[0], ScaleByAdamState)):
        raise InputError(
            f"the optimiser is {type(optim).__name__}; expected numpyro.optim.Adam or ClippedAdam, or optax "
            "with one scale_by_adam, whose moments both frameworks have"
        )
    return found[0]


def _moments(svi: SVI, state: SVIState) -> tuple[int, Any, Any]:
    """How many steps were taken, and trees of the mean and the variance."""
    adam = _state_of(svi, state.optim_state)
    if isinstance(adam, ScaleByAdamState):
        return int(adam.count), adam.mu, adam.nu
    parts = [jax.tree.leaves(part) for part in adam.packed_state]
    trees = (jax.tree.unflatten(adam.tree_def, [part[i] for part in parts]) for i in (1, 2))
    mean, variance = trees
    return int(jax.tree.leaves(state.optim_state)[0]), mean, variance


def _with_adam(
    svi: SVI, optim_state: Any, count: int, params: Any, mean: Any, variance: Any
) -> Any:
    """The optimiser's state with other parameters, moments and number of steps."""
    _state_of(svi, optim_state)
    fresh = svi.optim.init(params)  # parameters where this optimiser keeps them

    def replaced(node: Any) -> Any:
        if isinstance(node, ScaleByAdamState):
            return ScaleByAdamState(jnp.full_like(node.count, count), mean, variance)
        if isinstance(node, OptimizerState):
            trees = (params, mean, variance)
            columns = zip(*(jax.tree.leaves(tree) for tree in trees), strict=True)
            leaves = [x for column in columns for x in column]
            packed = jax.tree.unflatten(jax.tree.structure(node.packed_state), leaves)
            return OptimizerState(packed, node.tree_def, node.subtree_defs)
        return node._replace(count=jnp.full_like(node.count, count)) if _has_count(node) else node

    new = jax.tree.map(replaced, fresh, is_leaf=lambda n: _is_adam(n) or _has_count(n))
    leaves, structure = jax.tree.flatten(new)
    return jax.tree.unflatten(structure, [jnp.full_like(leaves[0], count), *leaves[1:]])
