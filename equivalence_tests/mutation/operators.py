"""Operators of mechanical mistakes: each looks at one node of a program's syntax tree.

It yields the nodes that may stand in its place, each of them a mistake.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator

Operator = Callable[[ast.AST], Iterator[ast.AST]]

FAMILIES = {"dist", "pdist", "ndist", "distributions"}
NEIGHBOURS = {
    "Normal": "Laplace",
    "Laplace": "Normal",
    "Cauchy": "Normal",
    "LogNormal": "Normal",
    "HalfNormal": "HalfCauchy",
    "HalfCauchy": "HalfNormal",
    "Exponential": "HalfNormal",
    "Gamma": "InverseGamma",
    "InverseGamma": "Gamma",
    "Beta": "Gamma",
    "Gumbel": "Logistic",
    "Poisson": "Geometric",
    "GammaPoisson": "Beta",
    "Uniform": "Normal",
}
ARGUMENTS = {"probs": "logits", "logits": "probs", "rate": "scale", "scale_tril": "covariance_matrix",
             "covariance_matrix": "scale_tril", "precision_matrix": "covariance_matrix"}  # fmt: skip
CONSTRAINTS = {
    "positive": "softplus_positive",
    "softplus_positive": "positive",
    "lower_cholesky": "softplus_lower_cholesky",
    "unit_interval": "positive",
    "simplex": "positive",
}
OPPOSITE = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
REDUCTIONS = {"sum", "mean", "cumsum", "std", "var", "logsumexp", "softmax", "stack", "cat",
              "concatenate", "log_softmax", "max", "min", "norm", "prod", "cumprod"}  # fmt: skip


def called(node: ast.AST) -> str:
    """Last name of a call's function: "Normal" of `pdist.Normal(0.0, 1.0)`."""
    if not isinstance(node, ast.Call):
        return ""
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def makes_distribution(node: ast.AST) -> bool:
    """Whether a call is of a distribution's class."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in FAMILIES
    )


def _without(node: ast.Call, keyword: str) -> ast.Call:
    kept = [k for k in node.keywords if k.arg != keyword]
    return ast.Call(node.func, node.args, kept)


def _with_keyword(node: ast.Call, keyword: str, value: ast.expr) -> ast.Call:
    return ast.Call(
        node.func, node.args, [*_without(node, keyword).keywords, ast.keyword(keyword, value)]
    )


# -- distributions ------------------------------------------------------------------------------------


def swapped_arguments(node: ast.AST) -> Iterator[ast.AST]:
    """`Beta(b, a)` for `Beta(a, b)`."""
    if isinstance(node, ast.Call) and makes_distribution(node) and len(node.args) >= 2:
        first, second, *rest = node.args
        if ast.dump(first) != ast.dump(second):
            yield ast.Call(node.func, [second, first, *rest], node.keywords)


def neighbour(node: ast.AST) -> Iterator[ast.AST]:
    """`Laplace` for `Normal`."""
    other = NEIGHBOURS.get(called(node))
    if other and isinstance(node, ast.Call) and makes_distribution(node):
        assert isinstance(node.func, ast.Attribute)
        function = ast.Attribute(node.func.value, other, ast.Load())
        yield ast.Call(function, node.args, node.keywords)


def other_argument(node: ast.AST) -> Iterator[ast.AST]:
    """`logits=` for `probs=`, a covariance given as its factor."""
    if isinstance(node, ast.Call) and makes_distribution(node):
        for keyword in node.keywords:
            if keyword.arg in ARGUMENTS:
                renamed = [
                    ast.keyword(ARGUMENTS[k.arg], k.value) if k is keyword and k.arg else k
                    for k in node.keywords
                ]
                yield ast.Call(node.func, node.args, renamed)


def without_to_event(node: ast.AST) -> Iterator[ast.AST]:
    """`.to_event(1)` forgotten."""
    if called(node) == "to_event":
        yield node.func.value  # type: ignore[attr-defined]


# -- sites and handlers -------------------------------------------------------------------------------


def without_obs(node: ast.AST) -> Iterator[ast.AST]:
    """`obs=` forgotten."""
    if isinstance(node, ast.Call) and any(k.arg == "obs" for k in node.keywords):
        yield _without(node, "obs")


def without_site(node: ast.AST) -> Iterator[ast.AST]:
    """A sample statement or factor whose value is not used, forgotten."""
    if isinstance(node, ast.Expr) and called(node.value) in ("sample", "factor"):
        yield ast.Pass()


def site_as_mean(node: ast.AST) -> Iterator[ast.AST]:
    """A site replaced by the mean of its distribution."""
    if isinstance(node, ast.Call) and called(node) == "sample" and len(node.args) >= 2:  # noqa: SIM102
        if not any(k.arg == "obs" for k in node.keywords):
            yield ast.Attribute(node.args[1], "mean", ast.Load())


def without_handler(node: ast.AST) -> Iterator[ast.AST]:
    """`with mask(…)` or `with scale(…)` forgotten, and a distribution's `.mask(…)`."""
    if not isinstance(node, ast.Call) or called(node) not in ("mask", "scale"):
        return
    assert isinstance(node.func, ast.Attribute)
    if isinstance(node.func.value, ast.Call):
        yield node.func.value
    else:
        yield ast.parse("__import__('contextlib').nullcontext()", mode="eval").body


def inverted_mask(node: ast.AST) -> Iterator[ast.AST]:
    """The complement of a mask."""
    if not isinstance(node, ast.Call) or called(node) not in ("mask", "sample"):
        return
    for keyword in node.keywords:
        if keyword.arg in ("mask", "obs_mask"):
            yield _with_keyword(node, keyword.arg, ast.UnaryOp(ast.Invert(), keyword.value))
    if called(node) == "mask" and node.args:
        yield ast.Call(node.func, [ast.UnaryOp(ast.Invert(), node.args[0])], node.keywords)


def plate_dim(node: ast.AST) -> Iterator[ast.AST]:
    """A plate one dim further left."""
    if isinstance(node, ast.Call) and called(node) == "plate":
        given = [ast.literal_eval(k.value) for k in node.keywords if k.arg == "dim"]
        dim = (given[0] if given else -1) - 1
        yield _with_keyword(node, "dim", ast.Constant(dim))


def without_subsampling(node: ast.AST) -> Iterator[ast.AST]:
    """A plate of the subsample's size: its scale forgotten."""
    if isinstance(node, ast.Call) and called(node) == "plate" and len(node.args) >= 2:
        for keyword in node.keywords:
            if keyword.arg == "subsample_size":
                yield _without(
                    ast.Call(node.func, [node.args[0], keyword.value], node.keywords),
                    "subsample_size",
                )


def other_constraint(node: ast.AST) -> Iterator[ast.AST]:
    """Softplus for exp, on a scale or on the diagonal of a factor."""
    if isinstance(node, ast.Attribute) and node.attr in CONSTRAINTS:
        base = node.value
        if getattr(base, "attr", getattr(base, "id", "")) == "constraints":
            yield ast.Attribute(base, CONSTRAINTS[node.attr], ast.Load())


# -- numbers ------------------------------------------------------------------------------------------


def _scaled(node: ast.AST, factor: float) -> Iterator[ast.AST]:
    if isinstance(node, ast.Constant) and isinstance(node.value, float):
        yield ast.Constant(node.value * factor if node.value else factor - 1.0)


def constant_1_percent(node: ast.AST) -> Iterator[ast.AST]:
    """A constant larger by 1 %, 0.01 for zero."""
    yield from _scaled(node, 1.01)


def constant_1e_minus_6(node: ast.AST) -> Iterator[ast.AST]:
    """A constant larger by a millionth."""
    yield from _scaled(node, 1.000001)


def argument_1_percent(node: ast.AST) -> Iterator[ast.AST]:
    """A computed argument of a distribution larger by 1 %."""
    if isinstance(node, ast.Call) and makes_distribution(node):
        for i, argument in enumerate(node.args):
            if not isinstance(argument, ast.Constant | ast.List) and not _is_zero(argument):
                larger = ast.BinOp(ast.Constant(1.01), ast.Mult(), argument)
                arguments = [*node.args[:i], larger, *node.args[i + 1 :]]
                yield ast.Call(node.func, arguments, node.keywords)


def _is_zero(node: ast.expr) -> bool:
    return ast.unparse(node).endswith(("zeros(())", "tensor(0.0)")) or called(node) == "zeros"


def opposite(node: ast.AST) -> Iterator[ast.AST]:
    """`-` for `+`, `/` for `*`, and the reverse; a minus forgotten."""
    if isinstance(node, ast.BinOp) and type(node.op) in OPPOSITE:
        yield ast.BinOp(node.left, OPPOSITE[type(node.op)](), node.right)
    negated = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
    if negated and not isinstance(node.operand, ast.Constant):  # type: ignore[attr-defined]
        yield node.operand  # type: ignore[attr-defined]


def transposed(node: ast.AST) -> Iterator[ast.AST]:
    """An operand of `@` transposed; an explicit transposition forgotten."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        yield ast.BinOp(ast.Attribute(node.left, "T", ast.Load()), node.op, node.right)
        yield ast.BinOp(node.left, node.op, ast.Attribute(node.right, "T", ast.Load()))
    if isinstance(node, ast.Attribute) and node.attr in ("T", "mT"):
        yield node.value


def other_axis(node: ast.AST) -> Iterator[ast.AST]:
    """The first axis for the last, and the reverse."""
    if not isinstance(node, ast.Call) or called(node) not in REDUCTIONS:
        return
    for keyword in node.keywords:
        if keyword.arg in ("axis", "dim") and (axis := _axis(keyword.value)) is not None:
            yield _with_keyword(node, keyword.arg, ast.Constant(0 if axis else -1))
    if node.args and (axis := _axis(node.args[-1])) is not None:
        yield ast.Call(node.func, [*node.args[:-1], ast.Constant(0 if axis else -1)], node.keywords)


def _axis(node: ast.expr) -> int | None:
    try:
        axis = ast.literal_eval(node)
    except ValueError:
        return None
    return axis if type(axis) is int else None


OPERATORS: tuple[Operator, ...] = (
    swapped_arguments,
    neighbour,
    other_argument,
    without_to_event,
    without_obs,
    without_site,
    site_as_mean,
    without_handler,
    inverted_mask,
    plate_dim,
    without_subsampling,
    other_constraint,
    constant_1_percent,
    constant_1e_minus_6,
    argument_1_percent,
    opposite,
    transposed,
    other_axis,
)
