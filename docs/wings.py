"""Draw docs/wings.svg, the picture of the wings, from the imports of the code: `python docs/wings.py`.

Rows are the layers of the contract in pyproject.toml. An arrow is an import; one that follows from
others is not drawn, nor are those to and from single files, which serve all above them. The two
implementations have the same wings, so one panel shows both.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
WIDTH, HEIGHT, ACROSS, DOWN = 118, 30, 14, 26  # of a box, and between boxes
MARGIN, TITLE = 22, 54
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328; text-anchor: middle }
  .title { font-weight: 600; font-size: 15px } .note { font-size: 12px; fill: #59636e }
  rect { fill: #ffffff; stroke: #818b98; rx: 6px } .panel { fill: #f6f8fa; stroke: none; rx: 10px }
  path { fill: none; stroke: #0969da; stroke-opacity: .55; marker-end: url(#head) }
  marker path { fill: #0969da; stroke: none }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc } .note { fill: #9198a1 } rect { fill: #212830; stroke: #656c76 }
    .panel { fill: #151b23 }
    path { stroke: #4493f8; stroke-opacity: .7 } marker path { fill: #4493f8 }
  }"""


def imported(package: str) -> dict[str, set[str]]:
    """Wing or file at the top of `package` -> those of the same package that it imports."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        wing = path.relative_to(ROOT / package).parts[0].removesuffix(".py")
        if path.name.startswith("test_") or wing == "__init__":
            continue
        names = found.setdefault(wing, set())
        for module in _modules(path):
            parts = module.split(".")
            if parts[0] == package and len(parts) > 1 and parts[1] != wing:
                names.add(parts[1])
    return {wing: names & found.keys() for wing, names in found.items()}


def _modules(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def layers(package: str) -> list[list[str]]:
    """The rows of a package, top first: the layers of its contract that exist."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (rows,) = (
        contract["layers"]
        for contract in settings["contracts"]
        if package in contract.get("containers", ())
    )
    names = [row.replace("|", " ").replace(":", " ").split() for row in rows]
    exist = imported(package).keys()
    return [[n.strip("()") for n in row if n.strip("()") in exist] for row in names]


def reduced(arrows: dict[str, set[str]]) -> dict[str, set[str]]:
    """Without the arrows that follow from others."""

    def reached(start: str) -> set[str]:
        below = arrows[start]
        return below.union(*map(reached, below))

    return {
        name: below - set().union(*(reached(other) for other in below))
        for name, below in arrows.items()
    }


def panel(package: str, title: str, x: float, y: float) -> tuple[str, float, float]:
    """The drawing of a package with its upper left corner at (x, y), its width and its height."""
    rows = layers(package)
    most = max(map(len, rows))
    width = 2 * MARGIN + most * WIDTH + (most - 1) * ACROSS
    height = TITLE + len(rows) * HEIGHT + (len(rows) - 1) * DOWN + MARGIN
    places = {}
    for i, row in enumerate(rows):
        left = x + (width - len(row) * WIDTH - (len(row) - 1) * ACROSS) / 2
        for j, name in enumerate(row):
            places[name] = left + j * (WIDTH + ACROSS), y + TITLE + i * (HEIGHT + DOWN)
    drawn = [
        f'<rect class="panel" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"/>',
        f'<text class="title" x="{x + width / 2:g}" y="{y + 30:g}">{escape(title)}</text>',
    ]
    wings = {name: below for name, below in imported(package).items() if _is_folder(package, name)}
    wings = {name: below & wings.keys() for name, below in wings.items()}
    for name, below in sorted(reduced(wings).items()):
        drawn += [_arrow(places[name], places[other], x + width / 2) for other in sorted(below)]
    for name, (left, top) in places.items():
        folder = "/" if _is_folder(package, name) else ".py"
        drawn.append(
            f'<rect x="{left:g}" y="{top:g}" width="{WIDTH}" height="{HEIGHT}"/>'
            f'<text x="{left + WIDTH / 2:g}" y="{top + 20:g}">{name}{folder}</text>'
        )
    return "\n".join(drawn), width, height


def _is_folder(package: str, name: str) -> bool:
    return (ROOT / package / name).is_dir()


def _arrow(start: tuple[float, float], end: tuple[float, float], center: float) -> str:
    x0, y0 = start[0] + WIDTH / 2, start[1] + HEIGHT
    x1, y1 = end[0] + WIDTH / 2, end[1] - 5
    if y1 < y0:  # neighbours in one row
        side = 1 if x1 > x0 else -1
        x0, x1, y = x0 + side * WIDTH / 2, x1 - side * (WIDTH / 2 + 5), start[1] + HEIGHT / 2
        return f'<path d="M{x0:g} {y:g} L{x1:g} {y:g}"/>'
    rows = round((y1 - y0) / (HEIGHT + DOWN))
    outwards = -1 if (x0 + x1) / 2 < center else 1  # around what stands between
    bend = outwards * (0.62 * WIDTH + 9 * rows) if rows else 0
    middle = (y0 + y1) / 2
    return f'<path d="M{x0:g} {y0:g} C{x0 + bend:g} {middle:g} {x1 + bend:g} {middle:g} {x1:g} {y1:g}"/>'


def picture() -> str:
    """The SVG."""
    proof, proof_width, proof_height = panel("equivalence_tests", "equivalence_tests", 16, 16)
    top = proof_height + 60
    twins, width, height = panel("pyro_impl", "pyro_impl, and numpyro_impl alike", 16, top)
    core, core_width, core_height = panel("twinplate", "twinplate, no framework", 76 + width, 16)
    whole = 92 + width + core_width, 32 + max(core_height, top - 16 + height)
    level = top + height / 2
    center = 16 + proof_width / 2
    across = f'<path d="M{16 + width:g} {level:g} L{70 + width:g} {level:g}"/>'
    down = f'<path d="M{center:g} {16 + proof_height:g} L{center:g} {top - 6:g}"/>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{whole[0]:g}" height="{whole[1]:g}" '
        f'viewBox="0 0 {whole[0]:g} {whole[1]:g}" role="img" aria-label="The wings of the packages">\n'
        f"<style>{STYLE}\n</style>\n"
        '<defs><marker id="head" viewBox="0 0 6 6" refX="5" refY="3" markerWidth="6" markerHeight="6" '
        'orient="auto"><path d="M0 0 L6 3 L0 6 z"/></marker></defs>\n'
        f"{proof}\n{down}\n{twins}\n{across}\n{core}\n</svg>\n"
    )


if __name__ == "__main__":
    (ROOT / "docs" / "wings.svg").write_text(picture())
