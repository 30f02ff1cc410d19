"""Pages in a real browser: nothing on the console, nothing from elsewhere, by keyboard, legible to axe."""

from __future__ import annotations

from pathlib import Path

import pytest
from page_checks import Page, accessible, in_order, page
from verify_files import BOTH, WRONG, file, twinplate

pytestmark = pytest.mark.usefixtures("own_folder")
__all__ = ["page"]


@pytest.mark.parametrize("text", [BOTH, WRONG], ids=["same", "differs"])
def test_the_page_of_the_verifier(page: Page, text: str) -> None:
    twinplate("verify", file(text), "--html", "r.html")
    in_order(page, Path("r.html"))
    accessible(page, Path("r.html"))


def test_a_page_that_errs_loads_or_hides_is_seen(page: Page) -> None:
    good = "<html lang='en'><title>t</title><main><h1>t</h1>{}</main></html>"
    for bad in (
        "<script>console.error('x')</script>",
        "<script>undefined.x</script>",
        "<img alt='' src='http://localhost:9/x.png'>",
        "<a href='#nowhere'>x</a>",
        "<div style='width: 2000px'>x</div>",
        "<div style='overflow-x: auto'><div style='width: 2000px'>x</div></div>",
    ):
        path = Path(file(good.format(bad), "bad.html"))
        with pytest.raises(AssertionError):
            in_order(page, path)
    in_order(page, Path(file(good.format(""), "good.html")))
