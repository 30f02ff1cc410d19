"""A program's parameters: NumPyro's trees of arrays by site, and single arrays by full name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import keystr, tree_flatten_with_path
from numpyro.distributions import constraints

from numpyro_impl.recording.constraints import full_name_of, unconstrained_gradient
from twinplate.records.record import Parameter


@dataclass(frozen=True)
class DeclaredParameters:
    """First values by parameter site, their constraints, and mutable state (running statistics)."""

    trees: dict[str, Any]
    constraints: dict[str, Any]
    state: dict[str, Any]

    def flat(self) -> dict[str, Array]:
        """Every floating-point array by name: "loc", "enc$params/Dense_0/kernel"."""
        return {name: leaf for name, leaf in self._leaves() if _is_floating(leaf)}

    def unflatten(self, flat: dict[str, Array]) -> dict[str, Any]:
        """The trees with arrays replaced by those of `flat`."""
        values = iter([flat.get(name, leaf) for name, leaf in self._leaves()])
        return jax.tree.map(lambda leaf: next(values), self.trees)

    def gradients(self, flat: dict[str, Array], gradients: dict[str, Array]) -> dict[str, Array]:
        """Gradients in the shared unconstrained coordinates."""
        return {
            name: unconstrained_gradient(self._constraint(name), flat[name], gradient)
            for name, gradient in gradients.items()
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

    def _leaves(self) -> list[tuple[str, Array]]:
        found = tree_flatten_with_path(self.trees)[0]
        return [(keystr(path, simple=True, separator="/"), leaf) for path, leaf in found]

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
    )


def _cast(leaf: Any, precision: str) -> Any:
    return jnp.asarray(leaf, dtype=precision) if _is_floating(leaf) else leaf


def _is_floating(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
