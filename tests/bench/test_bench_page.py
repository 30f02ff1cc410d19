"""The page of `twinplate bench`, in a browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from page_checks import Page, accessible, in_order, page

from twinplate.bench.measure import FLOOR, Measured, Timing
from twinplate.bench.page import bench_page

pytestmark = pytest.mark.usefixtures("own_folder")
__all__ = ["page"]


def test_the_page_shows_every_way_the_fastest_first_and_what_failed(page: Page) -> None:
    medians = {"Pyro, stock <b>": 30.0, FLOOR: 2.0, "NumPyro, ours": 2.5, "JAX, hand-written": 2.2}
    rows = [Timing("S", "cpu", name, ms, 0.1, ms / 2, 1.0, 3.0) for name, ms in medians.items()]
    tables = [Measured("S", "cpu", rows, {}, {"lost": "MemoryError: <no> more"})]
    text = bench_page(tables, {"size S": ["Pick <this>.", "  Or that."]}, ["one thread"])
    Path("bench.html").write_text(text)
    in_order(page, Path("bench.html"))
    accessible(page, Path("bench.html"))
    shown = page.run("[...document.querySelectorAll('tbody th')].map(e => e.innerText)")
    assert shown == [FLOOR, "JAX, hand-written", "NumPyro, ours", "Pyro, stock <b>"]
    words = page.run("document.body.innerText")
    assert all(part in words for part in ("Pick <this>.", "Or that.", "<no> more", "one thread"))
    widths = page.run("[...document.querySelectorAll('svg rect')].map(e => e.width.baseVal.value)")
    assert widths[3] / widths[0] == pytest.approx(15, rel=0.02)  # as the milliseconds are
