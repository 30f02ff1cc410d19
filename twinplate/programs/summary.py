"""What a fitted model consists of, in words and figures: a summary for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from twinplate.programs.linear_gaussian import LinearGaussian

STRONGEST = 5  # features named for a component


@dataclass(frozen=True)
class Component:
    """share: of the variance of the features, on average over them, 0 to 1.

    features: the names of those with the largest loadings in units of their standard deviation, that is,
    correlations of feature and component; and these numbers.
    """

    share: float
    features: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Summary:
    """A fit in words and figures: `str` has it as text, `as_dict` for JSON.

    fit: facts about the fit by name, in the order in which they are shown.
    noise_share: of the variance of the features, on average over them; with those of the components, 1.

    A rotation of the components fits as well where loadings are learned, so a component is not to be read as
    a cause.

    >>> from twinplate import LinearGaussian
    >>> model = LinearGaussian(loadings=[[3.0], [4.0]], noise_scale=[4.0, 3.0])
    >>> print(Summary.of({"guide": "event"}, model, ("height", "weight")))
    guide: event
    component 1, 50.0% of the variance: weight 0.80, height 0.60
    noise, 50.0% of the variance
    """

    fit: dict[str, Any]
    components: tuple[Component, ...]
    noise_share: float

    @classmethod
    def of(cls, fit: dict[str, Any], model: LinearGaussian, names: tuple[str, ...]) -> Summary:
        """The summary of a model whose features have these names (D,)."""
        signal = model.loadings * model.scale
        total = np.sum(signal**2, axis=1) + model.noise_scale**2
        correlation = signal / np.sqrt(total)[:, None]
        components = []
        for column in correlation.T:
            order = np.argsort(-np.abs(column), kind="stable")[:STRONGEST]
            strongest = tuple((names[d], float(column[d])) for d in order)
            components.append(Component(float(np.mean(column**2)), strongest))
        noise = float(np.mean(model.noise_scale**2 / total))
        return cls(fit, tuple(components), noise)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        components = [{"share": c.share, "features": dict(c.features)} for c in self.components]
        return {**self.fit, "components": components, "noise_share": self.noise_share}

    def _repr_html_(self) -> str:
        """What notebooks show: a table."""
        rows = [("component", "share of the variance", "correlation with the features")]
        for k, component in enumerate(self.components, 1):
            strongest = ", ".join(f"{name} {value:.2f}" for name, value in component.features)
            rows.append((str(k), f"{component.share:.1%}", strongest))
        rows.append(("noise", f"{self.noise_share:.1%}", ""))
        facts = ", ".join(
            f"{name.replace('_', ' ')} {_said(value)}" for name, value in self.fit.items()
        )
        body = "".join(
            "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row) + "</tr>"
            for tag, row in zip(["th", *["td"] * len(rows)], rows, strict=False)
        )
        return f"<p>{escape(facts)}</p><table>{body}</table>"

    def __str__(self) -> str:
        lines = [f"{name.replace('_', ' ')}: {_said(value)}" for name, value in self.fit.items()]
        for k, component in enumerate(self.components, 1):
            strongest = ", ".join(f"{name} {value:.2f}" for name, value in component.features)
            lines.append(f"component {k}, {component.share:.1%} of the variance: {strongest}")
        return "\n".join([*lines, f"noise, {self.noise_share:.1%} of the variance"])


def _said(value: Any) -> str:
    """A fact as people read it."""
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return f"{value:.4g}" if isinstance(value, float) else "none" if value is None else str(value)
