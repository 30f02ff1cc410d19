"""A program's parameters: NumPyro's trees of arrays by site, and single arrays by full name."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import keystr, tree_flatten_with_path
from numpyro.distributions import biject_to, constraints

from numpyro_impl.recording.constraints import full_name_of, unconstrained_gradient
from twinplate.records.record import Parameter

_Path = tuple[Any, ...]  # of keys in a tree
_MODULE = "$params"  # how the parameter of a module ends


@dataclass(frozen=True)
class DeclaredParameters:
    """First values by parameter site, their constraints, mutable state (running statistics).

    sites: names of the sample sites.
    """

    trees: dict[str, Any]
    constraints: dict[str, Any]
    state: dict[str, Any]
    sites: frozenset[str] = frozenset()

    def flat(self) -> dict[str, Array]:
        """Every floating-point array by name: "loc", "enc$params/Dense_0/kernel".

        Without those that `random_eqx_module` leaves behind where it samples weights: nothing uses them.
        """
        return {
            _joined(path): leaf
            for path, leaf in self._leaves()
            if _is_floating(leaf) and not self._is_sampled(path)
        }

    def are_all_in(self, names: Collection[str]) -> bool:
        """Whether every number of theirs is in an array of one of these names."""
        return all(_is_floating(leaf) and _joined(path) in names for path, leaf in self._leaves())

    def unflatten(self, flat: dict[str, Array]) -> dict[str, Any]:
        """The trees with arrays replaced by those of `flat`."""
        values = iter([flat.get(_joined(path), leaf) for path, leaf in self._leaves()])
        return jax.tree.map(lambda leaf: next(values), self.trees)

    def gradients(self, flat: dict[str, Array], gradients: dict[str, Array]) -> dict[str, Array]:
        """Gradients in the shared unconstrained coordinates."""
        return {
            name: unconstrained_gradient(self._constraint(name), flat[name], gradient)
            for name, gradient in gradients.items()
        }

    def to_constrained(self, numbers: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Constrained values, by name, of the numbers that NumPyro trains."""
        return {
            n: np.asarray(biject_to(self._constraint(n))(jnp.asarray(x)))
            for n, x in numbers.items()
        }

    def to_unconstrained(self, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The inverse of `to_constrained`."""
        return {
            n: np.asarray(biject_to(self._constraint(n)).inv(jnp.asarray(x)))
            for n, x in values.items()
        }

    def recorded(
        self, flat: dict[str, Any], gradients: dict[str, Any] | None = None
    ) -> dict[str, Parameter]:
        """The record of all parameters."""
        return {
            name: Parameter(
                full_name_of(self._constraint(name)),
                np.asarray(flat[name]),
                None if gradients is None else np.asarray(gradients[name]),
            )
            for name in self.flat()
        }

    def _leaves(self) -> list[tuple[_Path, Array]]:
        return list(tree_flatten_with_path(self.trees)[0])

    def _is_sampled(self, path: _Path) -> bool:
        """Whether a weight of module "net" is sampled: "net/layers[0].weight", with any divider."""
        module, weight = keystr(path[:1], simple=True), keystr(path[1:])[1:]
        if not module.endswith(_MODULE) or not weight:
            return False
        start = module.removesuffix(_MODULE)
        return any(name.startswith(start) and name.endswith(weight) for name in self.sites)

    def _constraint(self, name: str) -> Any:
        return self.constraints.get(name, constraints.real)  # modules' parameters are real


def declared_parameters(traces: dict[str, dict[str, Any]], precision: str) -> DeclaredParameters:
    """What guide and model declared, in `precision`."""
    nodes = [node for trace in traces.values() for node in trace.values()]
    params = {
        n["name"]: n for n in reversed(nodes) if n["type"] == "param" and n["value"] is not None
    }
    return DeclaredParameters(
        {
            name: jax.tree.map(lambda x: _cast(x, precision), n["value"])
            for name, n in params.items()
        },
        {name: n["kwargs"].get("constraint", constraints.real) for name, n in params.items()},
        {n["name"]: n["value"] for n in nodes if n["type"] == "mutable" and n["value"] is not None},
        frozenset(n["name"] for n in nodes if n["type"] == "sample"),
    )


def _joined(path: _Path) -> str:
    return keystr(path, simple=True, separator="/")


def _cast(leaf: Any, precision: str) -> Any:
    return jnp.asarray(leaf, dtype=precision) if _is_floating(leaf) else leaf


def _is_floating(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
