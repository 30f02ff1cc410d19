"""What a fitted model consists of, in words and figures: a summary for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from twinplate.programs.generalised_linear import GeneralisedLinear
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
    noise_share: of the variance of the features, on average over them; with those of the components, 1. None
        of counts, of which the shares are those of the predictor, without any noise.

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
    noise_share: float | None

    @classmethod
    def of(
        cls,
        fit: dict[str, Any],
        model: LinearGaussian | GeneralisedLinear,
        names: tuple[str, ...],
    ) -> Summary:
        """The summary of a model whose features have these names (D,)."""
        signal = model.loadings * model.scale
        noise_scale = model.noise_scale if isinstance(model, LinearGaussian) else None
        total = np.sum(signal**2, axis=1) + (0.0 if noise_scale is None else noise_scale**2)
        total = np.maximum(total, np.finfo(float).tiny)
        correlation = signal / np.sqrt(total)[:, None]
        components = []
        for column in correlation.T:
            order = np.argsort(-np.abs(column), kind="stable")[:STRONGEST]
            strongest = tuple((names[d], float(column[d])) for d in order)
            components.append(Component(float(np.mean(column**2)), strongest))
        noise = None if noise_scale is None else float(np.mean(noise_scale**2 / total))
        return cls(fit, tuple(components), noise)

    @property
    def _whole(self) -> str:
        """What the shares are parts of."""
        return "the variance" if self.noise_share is not None else "the predictor's variance"

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        components = [{"share": c.share, "features": dict(c.features)} for c in self.components]
        return {**self.fit, "components": components, "noise_share": self.noise_share}

    def _repr_html_(self) -> str:
        """What notebooks show: a table."""
        rows = [("component", f"share of {self._whole}", "correlation with the features")]
        for k, component in enumerate(self.components, 1):
            strongest = ", ".join(f"{name} {value:.2f}" for name, value in component.features)
            rows.append((str(k), f"{component.share:.1%}", strongest))
        if self.noise_share is not None:
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
            lines.append(f"component {k}, {component.share:.1%} of {self._whole}: {strongest}")
        if self.noise_share is not None:
            lines.append(f"noise, {self.noise_share:.1%} of the variance")
        return "\n".join(lines)


def _said(value: Any) -> str:
    """A fact as people read it."""
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return f"{value:.4g}" if isinstance(value, float) else "none" if value is None else str(value)
