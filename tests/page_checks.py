"""What holds of every page that this project writes, looked at in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest
from browser import Page, chromium

WIDTHS = (390, 900, 1400)


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A tab for the tests of a file."""
    with chromium() as page:
        yield page


def in_order(page: Page, path: Path) -> None:
    """What holds of every page, in both schemes and three widths, and on paper."""
    page.errors.clear()
    page.requested.clear()
    page.open(path)
    assert page.run("document.querySelectorAll('h1').length") >= 1
    for width in WIDTHS:
        for scheme in ("light", "dark"):
            page.look(width, scheme)
            assert page.run("document.documentElement.scrollWidth") <= width
    by_keyboard(page)
    assert page.run("document.querySelectorAll('a[href^=\"#\"]').length") == page.run(
        "[...document.querySelectorAll('a[href^=\"#\"]')]"
        ".filter(a => document.getElementById(a.hash.slice(1))).length"
    )
    assert page.errors == []
    assert page.requested == [path.absolute().as_uri()]


def by_keyboard(page: Page) -> None:
    """Tab comes to everything that can be opened, followed or scrolled, in the order of the page."""
    page.look(390)
    every = "[...document.querySelectorAll('a[href], summary, [tabindex=\"0\"]')]"
    scrolled = (
        "[...document.querySelectorAll('main *')].filter(e => e.scrollWidth > e.clientWidth + 1 && "
        "['auto', 'scroll'].includes(getComputedStyle(e).overflowX) && e.tabIndex < 0).length"
    )
    assert page.run(scrolled) == 0
    page.run("document.activeElement.blur(); window.scrollTo(0, 0)")
    count = page.run(f"{every}.filter(e => e.checkVisibility()).length")
    for place in range(count):
        page.press("Tab", 9)
        at = page.run(f"{every}.filter(e => e.checkVisibility()).indexOf(document.activeElement)")
        assert at == place


def accessible(page: Page, path: Path) -> None:
    """No violation of the rules of axe-core, in either scheme."""
    axe = pytest.importorskip("axe_core_python", reason="axe-core-python is not installed")
    source = (resources.files(axe) / "axe.min.js").read_text()
    page.open(path)
    page.run(source + "; 1")
    for scheme in ("light", "dark"):
        page.look(1400, scheme)
        found = page.run(
            "document.querySelectorAll('details').forEach(d => d.open = true), axe.run().then(r => "
            "r.violations.map(v => [v.id, v.help, ...v.nodes.slice(0, 3).map(n => n.html)]))"
        )
        assert found == []
