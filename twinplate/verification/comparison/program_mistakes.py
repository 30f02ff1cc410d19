"""Known mistakes of whole programs: networks, indices, precision, series."""

from __future__ import annotations

import numpy as np

from twinplate.records.record import Site
from twinplate.verification.comparison.context import AGREEMENT, Context, alike
from twinplate.verification.comparison.shared_faults import DISCRETE
from twinplate.verification.matching.sites import AUTOGUIDE_LATENT

SLIGHT = 0.02  # relative difference that another epsilon or approximation may make
SINGLE = 1e-4  # and rounding to single precision, of 6e-8, with some of the digits cancelled
CASTS = {"pyro": ".float() or dtype=torch.float32", "numpyro": "astype or dtype=jnp.float32"}

# -- networks and numerical functions -----------------------------------------------------------------


def slight(context: Context) -> bool:
    """Whether numbers differ by little, as two versions of one function do."""
    return context.is_numeric and context.relative < SLIGHT


def gelu(context: Context) -> str | None:
    """GELU by its tanh approximation, JAX's default, beside torch's exact one."""
    torch, jax = context.operations("pyro"), context.operations("numpyro")
    exact = any(op.startswith("gelu") and "tanh" not in op for op in torch)
    if slight(context) and exact and "tanh" in jax and not jax & {"erf", "erfc"}:
        return "Perhaps jax.nn.gelu's default, the tanh approximation: pass approximate=False"
    return None


def layer_norm(context: Context) -> str | None:
    """A layer norm adds the epsilon of the other framework."""
    torch, jax = context.operations("pyro"), context.operations("numpyro")
    if slight(context) and any(op.startswith("layer_norm") for op in torch) and "rsqrt" in jax:
        return "Perhaps the LayerNorm's epsilon: torch adds 1e-5, flax 1e-6; pass epsilon=1e-5"
    return None


def dropout(context: Context) -> str | None:
    """A network leaves out units at random, by no site: nobody can give both frameworks one mask."""
    torch, jax = context.operations("pyro"), context.operations("numpyro")
    runs = (context.pair.run(which) for which in ("first", "second"))
    sites = (site for run in runs for site in (*run.model.values(), *run.guide.values()))
    masked = "_bernoulli" in jax and not any(site.family.startswith("Bernoulli") for site in sites)
    if context.is_numeric and (masked or any("dropout" in op for op in torch)):
        return (
            "Perhaps dropout, whose masks are no sites, so that each framework draws its own: compare the "
            "programs without it, after net.eval() in torch and with deterministic=True in flax"
        )
    return None


def index(context: Context) -> str | None:
    """An index is out of bounds, which torch refuses and JAX clamps."""
    if context.finding.stage == "execution" and "out of" in context.finding.message and "index" in (
        context.finding.message.lower()
    ):  # fmt: skip
        return "JAX clamps an index that is out of bounds where torch raises: correct the index in both"
    stage = context.finding.stage
    if stage not in ("value", "density") or context.first is None or context.second is None:
        return None
    a, b = (
        site.value if stage == "value" else site.log_prob
        for site in (context.first, context.second)
    )
    subsampled = any(p.subsample_size != p.size for p in context.first.plates)
    if a is None or b is None or a.shape != b.shape or subsampled:
        return None
    agree = np.isclose(a, b, rtol=AGREEMENT, atol=0.0)
    for name, index in context.pair.first.inputs.items():
        whole = np.issubdtype(index.dtype, np.integer) and index.ndim > 0
        if whole and index.shape == a.shape[1:] and (agree == (index == index.max())).all():
            return (
                f"It agrees only where {name} is largest: perhaps an index is one too large, out of bounds "
                "there, which JAX clamps and torch raises; correct the index"
            )
    return None


def downcast(context: Context) -> str | None:
    """A value is cast to single precision on its way."""
    if not context.is_numeric or context.first is None or context.second is None:
        return None
    types = context.first.dtype, context.second.dtype
    narrow = {"float32", "float16", "bfloat16"}
    programs = context.pair.first, context.pair.second
    for which, program, dtype, other in (
        ("first", programs[0], *types),
        ("second", programs[1], *types[::-1]),
    ):
        if dtype in narrow and other not in narrow:
            return (
                f"The {which} program's value is {dtype} although the run is in double precision: it "
                f"is cast on the way ({CASTS[program.framework]}): leave the dtype to the inputs"
            )
    if context.relative > SINGLE:
        return None
    for framework in CASTS:
        casts = [op for op in context.operations(framework) if "to float32" in op]
        if any("int32 to" in op for op in casts):
            return (
                f"Perhaps whole numbers of the {framework} program in int32, which JAX takes to single "
                "precision (gammaln does): leave their dtype to the inputs, or say dtype=int"
            )
        if casts:
            return (
                f"Perhaps a cast to single precision in the {framework} program ({CASTS[framework]}): "
                "leave the dtype to the inputs"
            )
    return None


def square_weight(context: Context) -> str | None:
    """A square weight is used untransposed, which no shape can show."""
    finding = context.finding
    name = context.pair.second.untransposed.get(f"{finding.program} {finding.site}")
    if name is None or not context.is_numeric:
        return None
    return (
        f"{name}, a square matrix, is used untransposed: with its transpose the second program agrees here "
        "(torch's Linear.weight is (out, in), flax's kernel (in, out))"
    )


def layers_by_order(context: Context) -> str | None:
    """Layers of equal shape are exchanged, because they are matched by their order."""
    parameters = context.pair.run("first").parameters
    weights: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for a, b in context.pair.second.names.items():
        if "$" in a and "$" in b and a in parameters and parameters[a].value.ndim > 1:
            key = (a.partition("$")[0], parameters[a].value.shape)
            weights.setdefault(key, []).append(f"{a} ⇄ {b}")
    alike = next((pairs for pairs in weights.values() if len(pairs) > 1), None)
    if context.is_numeric and alike:
        return (
            "Perhaps layers of equal shape are exchanged: they were matched in the order of their numbers "
            f"({'; '.join(alike)}), and flax numbers them in the order of construction; say otherwise with "
            "rename"
        )
    return None


# -- dims that one program does not have ----------------------------------------------------------------


def steps_in_a_plate(context: Context) -> str | None:
    """What one program has in a plate, NumPyro has in a scan, which has none."""
    if context.finding.stage != "plates" or not context.first or not context.second:
        return None
    numpyro = [
        site
        for record, site in zip(
            (context.pair.first, context.pair.second), (context.first, context.second), strict=True
        )
        if record.framework == "numpyro" and not site.plates and site.batch_shape
    ]
    if not numpyro or "scan" not in context.operations("numpyro"):
        return None
    return (
        "Perhaps steps of a scan, which NumPyro stacks without a plate: write them in Pyro as a loop over "
        f"sites {context.finding.site}_0, {context.finding.site}_1, …, which is compared with a scan"
    )


def vectorised(context: Context) -> str | None:
    """A Pyro program that is right for one particle stops with vectorised ones."""
    settings, message = context.pair.first.settings, context.finding.message
    many = settings.vectorize_particles and settings.particles > 1
    if not many or context.finding.stage != "execution" or "size of tensor" not in message:
        return None
    return (
        "Perhaps the program counts dims from the left: Pyro puts a dim of vectorised particles in front "
        "of all others, so index and sum from the right (b[..., i, :] for b[i]), or do not vectorise"
    )


# -- sites that one program computes or sums out --------------------------------------------------------


def computed(context: Context) -> str | None:
    """A latent site of one program is computed in the other, from a site that the first lacks."""
    if context.finding.stage != "sites":
        return None
    models = {which: context.pair.run(which).model for which in ("first", "second")}
    for which, other in (("first", "second"), ("second", "first")):
        mine, theirs = models[which], models[other]
        sources = [name for name, s in mine.items() if s.kind == "latent" and name not in theirs]
        results = [
            name
            for name, s in mine.items()
            if s.kind == "deterministic" and name in theirs and theirs[name].kind == "latent"
        ]
        if sources and results and context.finding.site in (*sources, *results):
            return (
                f"The {which} program computes {', '.join(results)} from {', '.join(sources)}: a "
                "reparametrisation, which is another program with the same posterior; reparametrise both, or "
                "none"
            )
    return None


def renamed(context: Context) -> str | None:
    """A latent site of one program may be one of the other under another name."""
    finding = context.finding
    if finding.stage != "sites" or "absent" not in (finding.first, finding.second):
        return None
    first, second = (getattr(context.pair.run(w), finding.program, {}) for w in ("first", "second"))
    alone = [name for name in first if name not in second and first[name].kind == "latent"]
    others = [name for name in second if name not in first and second[name].kind == "latent"]
    for name in alone:
        alike = [other for other in others if _shape(second[other]) == _shape(first[name])]
        if alike and finding.site in (name, alike[0]):
            return f"If it is {alike[0]!r} of the second program, say rename={{{name!r}: {alike[0]!r}}}"
    return None


def _shape(site: Site) -> tuple[object, ...]:
    return site.batch_shape, site.event_shape, site.support


def summed_out(context: Context) -> str | None:
    """A discrete latent of one program is none of the other, and the losses agree."""
    finding = context.finding
    runs = [context.pair.run(which) for which in ("first", "second")]
    site = next((r.model[finding.site] for r in runs if finding.site in r.model), None)
    if finding.stage != "sites" or "absent" not in (finding.first, finding.second) or site is None:
        return None
    losses = [run.loss for run in runs]
    if site.support not in DISCRETE or losses[0] is None or losses[1] is None:
        return None
    if not alike(losses[0], losses[1]):
        return None
    other = "second" if finding.second == "absent" else "first"
    return (
        f"The losses agree: the {other} program sums over its values by itself (a mixture, for instance), "
        "where this one lets them be enumerated"
    )


# -- series -------------------------------------------------------------------------------------------


def flow_order(context: Context) -> str | None:
    """A flow gets the latent sites in another order."""
    site, finding = context.first, context.finding
    if site is None or finding.stage != "density" or not AUTOGUIDE_LATENT.match(finding.site):
        return None
    if not site.family.startswith("Transformed"):
        return None
    return (
        "Perhaps the flows pack the latent sites in another order, Pyro as they are executed, NumPyro by "
        "name: name the sites so that both orders are the same"
    )
