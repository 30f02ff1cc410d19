"""Known traps: when a finding looks like one, the message says so and how to mend it.

An explanation never changes a verdict. What is certain from the numbers is stated; what is only
likely begins with "Perhaps".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from twinplate.alignment import AUTOGUIDE_LATENT
from twinplate.findings import Finding
from twinplate.numbers import Pair
from twinplate.record import Array, Record, Site

CLOSE = 1e-9  # relative agreement of a quantity with what a trap would make of it


@dataclass(frozen=True)
class Scene:
    """A finding with the sites it concerns, where both programs have them."""

    finding: Finding
    pair: Pair
    first: Site | None
    second: Site | None

    def operations(self, framework: str) -> set[str]:
        """Numerical functions that the program of `framework` calls, empty if neither is of it."""
        records: tuple[Record, Record] = (self.pair.first, self.pair.second)
        return {op for r in records if r.framework == framework for op in r.operations}

    def arguments(self) -> list[tuple[str, Array, Array]]:
        """Distribution arguments that both sites have, broadcast against each other."""
        if self.first is None or self.second is None:
            return []
        common = [n for n in self.first.arguments if n in self.second.arguments]
        found = []
        for name in common:
            a, b = self.first.arguments[name], self.second.arguments[name]
            try:
                a, b = np.broadcast_arrays(a, b)
                found.append((name, a, b))
            except ValueError:
                continue
        return found

    def differing(self) -> list[tuple[str, Array, Array]]:
        """Arguments whose numbers differ."""
        return [(n, a, b) for n, a, b in self.arguments() if not alike(a, b)]


def alike(a: npt.ArrayLike, b: npt.ArrayLike) -> bool:
    """Whether arrays of numbers agree to `CLOSE`."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=CLOSE, atol=0.0, equal_nan=True))


def explained(finding: Finding, pair: Pair) -> Finding:
    """The finding with the first explanation that fits added to its message."""
    if finding.level == "note" and finding.stage != "shape":
        return finding
    sites = [
        getattr(pair.run(which), finding.program).get(finding.site)
        if finding.program in ("model", "guide")
        else None
        for which in ("first", "second")
    ]
    scene = Scene(finding, pair, *sites)
    with np.errstate(all="ignore"):
        for trap in TRAPS:
            text = trap(scene)
            if text:
                return replace(finding, message=f"{finding.message}. {text}")
    return finding


# -- arguments of a distribution ----------------------------------------------------------------------


def _reparametrised(scene: Scene) -> str | None:
    if scene.finding.stage != "density":
        return None
    for name, a, b in scene.differing():
        texts = {
            "scale": [
                (a**2, "The second program's scale is the first's square: a variance is given where "
                 "a standard deviation is expected; take its square root"),
                (np.sqrt(a), "The second program's scale is the first's square root: the first gives a "
                 "variance where a standard deviation is expected"),
                (1 / a, "The second program's scale is the first's reciprocal: a precision or rate is "
                 "given for a scale; take 1 / it"),
                (a**-2.0, "The second program's scale is the first's to the power -2: a precision is "
                 "given for a standard deviation; take 1 / sqrt of it"),
                (a**-0.5, "The second program's scale is the first's to the power -1/2: the first gives a "
                 "precision where a standard deviation is expected"),
            ],
            "rate": [
                (1 / a, "The second program's rate is the first's reciprocal: a scale is given for a "
                 "rate; take 1 / it"),
            ],
        }  # fmt: skip
        for expected, text in texts.get(name, []):
            if alike(expected, b):
                return text
    return None


def _swapped(scene: Scene) -> str | None:
    differing = scene.differing() if scene.finding.stage == "density" else []
    for i, (name, a, b) in enumerate(differing):
        for other, c, d in differing[i + 1 :]:
            if alike(a, d) and alike(b, c):
                return f"{name} and {other} are swapped"
    return None


def _probs_and_logits(scene: Scene) -> str | None:
    if scene.first is None or scene.second is None or scene.finding.stage != "density":
        return None
    a, b = scene.first.arguments, scene.second.arguments
    for mine, theirs in (("probs", "logits"), ("logits", "probs")):
        if mine in a and theirs in b and alike(a[mine], b[theirs]):
            return f"The second program gives as {theirs} what the first gives as {mine}"
    return None


def _unnormalised(scene: Scene) -> str | None:
    for site in (scene.first, scene.second):
        probs = None if site is None else site.arguments.get("probs")
        if (
            site is None
            or probs is None
            or not site.family.startswith(("Categ", "Multinom", "OneHot"))
        ):
            continue
        if scene.finding.stage in ("density", "execution") and not alike(
            probs.sum(-1), np.ones(probs.shape[:-1])
        ):
            return "The probs do not sum to 1: Pyro normalises them, NumPyro does not; divide by their sum"
    return None


def _biased_deviation(scene: Scene) -> str | None:
    candidates = [(a, b) for _, a, b in scene.differing()]
    if scene.first is not None and scene.second is not None:
        a, b = scene.first.value, scene.second.value
        if scene.finding.stage == "value" and a is not None and b is not None:
            candidates.append((a, b))
    sizes = {n for values in scene.pair.first.inputs.values() for n in values.shape if n > 1}
    for a, b in candidates:
        ratio = np.asarray(b, dtype=np.float64) / a
        ratio = ratio[np.isfinite(ratio)]
        for n in sizes:
            factor = np.sqrt((n - 1) / n)
            if ratio.size and any(
                alike(ratio, np.full_like(ratio, f)) for f in (factor, 1 / factor)
            ):
                return (
                    f"The factor is sqrt({n - 1}/{n}): torch.std divides by n - 1, jnp.std and np.std by "
                    "n; pass ddof=1 (jnp) or correction=0 (torch)"
                )
    return None


def _differing_arguments(scene: Scene) -> str | None:
    if scene.finding.stage != "density":
        return None
    names = [name for name, _, _ in scene.differing()]
    return f"Its {' and '.join(names)} differ{'s' if len(names) == 1 else ''}" if names else None


# -- scales, masks, plates ----------------------------------------------------------------------------


def _scaling(scene: Scene) -> str | None:
    if scene.first is None or scene.second is None or "scaled" not in scene.finding.message:
        return None
    plates = [p for site in (scene.first, scene.second) for p in site.plates]
    for p in plates:
        ratio = p.size / p.subsample_size
        found = scene.first.scale / scene.second.scale if scene.second.scale else np.inf
        if ratio != 1 and (alike(ratio, found) or alike(1 / ratio, found)):
            return (
                f"The factor is N/B = {p.size}/{p.subsample_size} of plate {p.name}: one program lacks "
                "the subsample scaling; give its plate the full size and the subsample size"
            )
    return None


def _masked(scene: Scene) -> str | None:
    if scene.first is None or scene.second is None or scene.finding.stage != "density":
        return None
    masks = [
        np.broadcast_to(True if s.mask is None else s.mask, np.shape(s.log_prob))
        for s in (scene.first, scene.second)
        if s.log_prob is not None
    ]
    if len(masks) != 2 or masks[0].shape != masks[1].shape or (masks[0] == masks[1]).all():
        return None
    if (masks[0] == ~masks[1]).all():
        return "The masks are each other's complement"
    return "The masks differ"


def _event_dims(scene: Scene) -> str | None:
    if (
        scene.finding.stage != "shape"
        or scene.finding.level == "note"
        or not scene.first
        or not scene.second
    ):
        return None
    a, b = scene.first, scene.second
    if a.batch_shape + a.event_shape == b.batch_shape + b.event_shape:
        side = "second" if len(b.event_shape) < len(a.event_shape) else "first"
        return f"A .to_event({abs(len(a.event_shape) - len(b.event_shape))}) is missing in the {side} program"
    return None


def _prebuilt_plates(scene: Scene) -> str | None:
    if scene.finding.stage not in ("plates", "execution") or not scene.first or not scene.second:
        return None
    for site in (scene.first, scene.second):
        used = [p.dim for p in site.plates]
        if len(set(used)) < len(used):
            return (
                "Two plates share a dim: NumPyro gives a plate its dim when it is built, Pyro when it is "
                "entered; build plates where they are entered, or give them dim="
            )
    return None


# -- networks and numerical functions -----------------------------------------------------------------


def _gelu(scene: Scene) -> str | None:
    torch, jax = scene.operations("pyro"), scene.operations("numpyro")
    exact = any(op.startswith("gelu") and "tanh" not in op for op in torch)
    if _numeric(scene) and exact and "tanh" in jax and not jax & {"erf", "erfc"}:
        return "Perhaps jax.nn.gelu's default, the tanh approximation: pass approximate=False"
    return None


def _layer_norm(scene: Scene) -> str | None:
    torch, jax = scene.operations("pyro"), scene.operations("numpyro")
    if _numeric(scene) and any(op.startswith("layer_norm") for op in torch) and "rsqrt" in jax:
        return "Perhaps the LayerNorm's epsilon: torch adds 1e-5, flax 1e-6; pass epsilon=1e-5"
    return None


def _index(scene: Scene) -> str | None:
    if scene.finding.stage == "execution" and "out of" in scene.finding.message and "index" in (
        scene.finding.message.lower()
    ):  # fmt: skip
        return "JAX clamps an index that is out of bounds where torch raises: correct the index in both"
    return None


def _downcast(scene: Scene) -> str | None:
    if not _numeric(scene) or scene.first is None or scene.second is None:
        return None
    types = scene.first.dtype, scene.second.dtype
    narrow = {"float32", "float16", "bfloat16"}
    for which, dtype, other in (("first", *types), ("second", *types[::-1])):
        if dtype in narrow and other not in narrow:
            return (
                f"The {which} program's value is {dtype} although the run is in double precision: it "
                "is cast on the way"
            )
    for framework in ("pyro", "numpyro"):
        if any("float32" in op for op in scene.operations(framework)):
            return f"Perhaps a cast to single precision in the {framework} program"
    return None


def _square_weight(scene: Scene) -> str | None:
    if not _numeric(scene):
        return None
    record = scene.pair.first
    run = scene.pair.run("first")
    arrays = {**record.inputs, **{name: p.value for name, p in run.parameters.items()}}
    square = [n for n, v in arrays.items() if v.ndim == 2 and v.shape[0] == v.shape[1] > 1]
    if square:
        return (
            f"Perhaps {square[0]}, a square matrix, is used untransposed: torch's Linear.weight is "
            "(out, in), flax's kernel (in, out)"
        )
    return None


def _layers_by_order(scene: Scene) -> str | None:
    names = scene.pair.second.names
    by_order = [f"{a} ⇄ {b}" for a, b in names.items() if "$" in a and "$" in b]
    if _numeric(scene) and len(by_order) > 2:
        return (
            "Perhaps layers of equal shape are exchanged: they were matched in the order of their numbers "
            f"({'; '.join(by_order[:4])}), and flax numbers them in the order of construction; say "
            "otherwise with rename"
        )
    return None


# -- objectives ---------------------------------------------------------------------------------------


def _score_function(scene: Scene) -> str | None:
    if scene.finding.stage != "gradient" or scene.pair.first.settings.loss != "Trace_ELBO":
        return None
    guide = scene.pair.run("first").guide.values()
    discrete = ("boolean", "nonnegative_integer", "integer_interval", "one_hot", "multinomial")
    if any(site.support in discrete and site.kind == "latent" for site in guide):
        return (
            "NumPyro's Trace_ELBO has no score-function term for discrete sites of the guide: its "
            "gradient is not that of the ELBO; use TraceGraph_ELBO in both"
        )
    return None


def _enumerated_scan(scene: Scene) -> str | None:
    if scene.finding.stage not in ("loss", "gradient"):
        return None
    if scene.pair.first.settings.loss == "TraceEnum_ELBO" and "scan" in scene.operations("numpyro"):
        return (
            "NumPyro's TraceEnum_ELBO is known to return a wrong loss for an enumerated scan, silently: "
            "the sites agree, the loss does not; unroll the loop or marginalise by hand"
        )
    return None


def _mean_field(scene: Scene) -> str | None:
    if scene.finding.stage in ("loss", "gradient") and (
        scene.pair.first.settings.loss == "TraceMeanField_ELBO"
    ):
        return (
            "TraceMeanField_ELBO uses an analytic KL wherever the framework has one, and they have "
            "different ones (NumPyro for AutoNormal, torch for many more families): compare Trace_ELBO"
        )
    return None


def _packed_flow(scene: Scene) -> str | None:
    finding = scene.finding
    if (
        scene.first is None
        or finding.stage != "density"
        or not AUTOGUIDE_LATENT.match(finding.site)
    ):
        return None
    if not scene.first.family.startswith("Transformed"):
        return None
    return (
        "Perhaps the flows pack the latent sites in another order, Pyro as they are executed, NumPyro by "
        "name: name the sites so that both orders are the same"
    )


def _numeric(scene: Scene) -> bool:
    return scene.finding.level == "difference" and scene.finding.stage in (
        "value",
        "density",
        "gradient",
    )


Trap = Callable[[Scene], str | None]
TRAPS: tuple[Trap, ...] = (
    _score_function,
    _enumerated_scan,
    _mean_field,
    _packed_flow,
    _scaling,
    _masked,
    _event_dims,
    _prebuilt_plates,
    _unnormalised,
    _reparametrised,
    _swapped,
    _probs_and_logits,
    _biased_deviation,
    _index,
    _downcast,
    _gelu,
    _layer_norm,
    _layers_by_order,
    _square_weight,
    _differing_arguments,
)
