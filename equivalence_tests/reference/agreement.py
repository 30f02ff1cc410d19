"""Find what differs between two evaluations, in the order in which a person should look."""

from __future__ import annotations

import numpy as np

from twinplate.records.evaluation import Evaluation
from twinplate.records.record import Site

# Of max(1, |value|). Honest differences in double precision stay below 1e-13, see benchmarks.
PRECISION = 1e-12


def differences(first: Evaluation, second: Evaluation) -> list[str]:
    """One line for each difference, "kind place: values"; empty if the programs agree.

    Kinds in order: sites, plates, shape, value, density, elbo, loss, parameters, gradient.
    """
    found: list[str] = []
    for program in ("guide", "model"):
        found += _sites(program, getattr(first, program), getattr(second, program))
    found += _numbers("value returned", first.returned, second.returned)
    found += _numbers("elbo", first.elbo, second.elbo)
    for name, evaluation in (("first", first), ("second", second)):
        loss, mean = np.array(evaluation.loss), -evaluation.elbo.mean()
        found += _numbers(f"loss of the {name} against its own sites", loss, mean)
    found += _numbers("loss", np.array(first.loss), np.array(second.loss))
    if first.gradient.keys() != second.gradient.keys() or not first.gradient:
        found.append(f"parameters: {sorted(first.gradient)} and {sorted(second.gradient)}")
        return found
    for name in first.gradient:
        found += _numbers(f"gradient {name}", first.gradient[name], second.gradient[name])
    return found


def _sites(program: str, first: dict[str, Site], second: dict[str, Site]) -> list[str]:
    if list(first) != list(second) or not first:
        return [f"sites of the {program}: {list(first)} and {list(second)}"]
    found: list[str] = []
    for name, a in first.items():
        b, place = second[name], f"{program} site {name}"
        if a.kind != b.kind:
            found.append(f"sites {place}: {a.kind} and {b.kind}")
        if a.plates != b.plates or a.scale != b.scale:
            found.append(f"plates {place}: {a.plates} × {a.scale} and {b.plates} × {b.scale}")
        if (a.batch_shape, a.event_shape) != (b.batch_shape, b.event_shape):
            shapes = f"{a.batch_shape} | {a.event_shape} and {b.batch_shape} | {b.event_shape}"
            found.append(f"shape {place}: {shapes}")
        found += _numbers(f"value {place}", a.value, b.value)
        found += _numbers(f"density {place}", a.log_prob, b.log_prob)
    return found


def _numbers(place: str, a: np.ndarray, b: np.ndarray) -> list[str]:
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        return [f"{place}: shapes {a.shape} and {b.shape}"]
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return [f"{place}: not finite"]
    error = relative_error(a, b)
    return [f"{place}: relative difference {error:.2g}"] if error > PRECISION else []


def relative_error(a: np.ndarray, b: np.ndarray) -> float:
    """Largest |a - b| / max(1, |a|), element by element."""
    return float(np.max(np.abs(a - b) / np.maximum(1.0, np.abs(a)), initial=0.0))


def gradient_error(a: np.ndarray, b: np.ndarray) -> float:
    """The same, but an entry below a thousandth of the tensor's largest counts as that thousandth.

    All entries are sums of terms of like size over the items; in a small one they cancel. So 1e-12 leaves it
    1e-15 of the largest entry, five units in the last place.
    """
    scale = np.maximum(np.maximum(1.0, np.abs(a)), np.max(np.abs(a), initial=0.0) / 1000)
    return float(np.max(np.abs(a - b) / scale, initial=0.0))
