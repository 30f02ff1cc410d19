"""The site is built without a warning and is used without a network: pages, links, the search."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from browser import chromium

pytest.importorskip("mkdocs")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site as `make docs` makes it. Links that lead nowhere are warnings, and those are errors."""
    folder = tmp_path_factory.mktemp("built") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    built = subprocess.run(
        [*command, "--site-dir", str(folder)],
        cwd=ROOT,
        env={"NO_MKDOCS_2_WARNING": "1", "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0 and not built.stdout + built.stderr, built.stderr
    return folder


def test_every_page_is_there_and_none_loads_anything_from_elsewhere(site):
    pages = {page.relative_to(site).with_suffix("").as_posix() for page in site.rglob("*.html")}
    assert {page.stem for page in (ROOT / "docs").glob("*.md")} - {"README"} <= pages
    assert {"index", "benchmarks", "contributing", "api/twinplate", "api/pyro_impl"} <= pages
    for page in site.rglob("*.html"):
        loaded = re.findall(
            r'<(?:script|link|img|iframe)\b[^>]*?(?:src|href)="(https?:[^"]*)"', page.read_text()
        )
        assert not loaded, page


def test_the_reference_shows_what_the_packages_offer(site):
    for package in ("twinplate", "pyro_impl", "numpyro_impl"):
        text = (site / "api" / f"{package}.html").read_text()
        offered = {name for name in import_module(package).__all__ if not name.startswith("_")}
        shown = {name for name in offered if f'id="{package}.{name}"' in text}
        assert shown == offered - {"Program" if package == "twinplate" else ""}  # its old name
        assert "<li>" in text and '<span class="gp">' in text  # arguments, examples


def test_a_reader_without_a_network_searches(site):
    """From the disk, where browsers start no workers."""
    with chromium() as page:
        page.look(1300)
        page.open(site / "index.html")
        page.run("document.querySelector('.md-search__input').focus()")
        typed = json.dumps("TraceMeanField_ELBO")
        page.run(
            f"const field = document.querySelector('.md-search__input'); field.value = {typed};"
            "field.dispatchEvent(new Event('keyup', {bubbles: true}))"
        )
        found = page.run(
            "new Promise((done) => { const look = () => { const all = "
            "[...document.querySelectorAll('.md-search-result__link')].map((a) => a.href);"
            "all.length ? done(all) : setTimeout(look, 50); }; look(); })"
        )
        assert any("known-differences.html" in link for link in found)
        assert page.errors == []
        assert all(url.startswith(("file:", "data:")) for url in page.requested)
