"""docs/architecture.md shows the house as it stands: its picture, a line for each wing, files that exist."""

from __future__ import annotations

import ast
import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("twinplate", "pyro_impl", "numpyro_impl", "equivalence_tests")
PAGE = (ROOT / "docs" / "architecture.md").read_text()


def wings():
    """Folder -> first line of its docstring."""
    return {
        str(path.parent.relative_to(ROOT)): ast.get_docstring(
            ast.parse(path.read_text())
        ).splitlines()[0]
        for package in PACKAGES
        for path in sorted((ROOT / package).glob("**/__init__.py"))
        if path.parent != ROOT / package
    }


def test_the_picture_is_drawn_from_the_imports():
    draw = runpy.run_path(str(ROOT / "docs" / "wings.py"))["picture"]
    assert (ROOT / "docs" / "wings.svg").read_text() == draw(), "run: python docs/wings.py"


def test_every_wing_has_its_line():
    found = dict(re.findall(r"^\| `([a-z_/]+)/` \| (.*) \|$", PAGE, re.M))
    assert found == wings()
    assert len(found) > 25


def test_the_twins_have_the_same_wings_and_tests_have_them_too():
    pyro, numpyro = (
        {name.partition("/")[2] for name in wings() if name.startswith(twin)}
        for twin in ("pyro_impl", "numpyro_impl")
    )
    assert pyro == numpyro
    core = {name.split("/")[1] for name in wings() if name.startswith("twinplate")}
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert folders == pyro | core | {"house", "benchmarks"}


def test_files_that_the_page_names_exist():
    names = {name for name in re.findall(r"`([\w/]+\.(?:py|md|svg))`", PAGE) if "/" in name}
    inside = [ROOT, ROOT / "twinplate", ROOT / "twinplate/verification"]
    inside += [ROOT / "pyro_impl", ROOT / "numpyro_impl"]
    missing = [name for name in names if not any((folder / name).exists() for folder in inside)]
    assert missing == []
    files = {path.name for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    bare = set(re.findall(r"`(\w+\.py)`", PAGE))
    assert bare - files == set() and len(names) > 20


def test_every_page_is_linked_from_the_index_and_links_lead_somewhere():
    index = (ROOT / "docs" / "README.md").read_text()
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages <= set(re.findall(r"\]\(([\w-]+\.md)\)", index))
    assert "](docs/README.md)" in (ROOT / "README.md").read_text()
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in (
            *ROOT.glob("*.md"),
            *(ROOT / "docs").glob("*.md"),
            ROOT / "benchmarks/README.md",
        )
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[\w-]+)?\)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert broken == []
