"""The style that all pages share: words are legible in both schemes."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from twinplate.pages.skeleton import document, table
from twinplate.pages.style import COLOURS, CSS

TONES = ("same", "note", "undecided", "difference")
SERIES = tuple(name for name, *_ in COLOURS if name.startswith("series"))


def contrast(one: str, other: str) -> float:
    """WCAG 2.2: the ratio of relative luminances, each raised by 0.05."""
    channels = ([int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in (one, other))
    linear = (
        [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in c] for c in channels
    )
    low, high = sorted(0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in linear)
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("scheme", [1, 2], ids=["light", "dark"])
def test_words_and_marks_are_legible(scheme: int) -> None:
    colours = {colour[0]: colour[scheme] for colour in COLOURS}
    grounds = ("page", "card")
    pairs = [(name, ground) for name in ("ink", "soft", "plus", *TONES) for ground in grounds]
    pairs += [(tone, f"{tone}-tint") for tone in TONES]
    pairs += [(word, f"{tone}-tint") for tone in TONES for word in ("ink", "soft")]
    pairs += [(name, ground) for name in SERIES for ground in grounds]
    low = {pair: round(contrast(*map(colours.get, pair)), 2) for pair in pairs}
    assert {pair: ratio for pair, ratio in low.items() if ratio < 4.5} == {}


def test_a_page_escapes_its_title_and_needs_nothing_from_elsewhere() -> None:
    class Addresses(HTMLParser):
        found: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag, attrs) -> None:
            self.found += [value for name, value in attrs if name in ("src", "href")]

    text = document("a <script> & b", table("some & more", ("x", "y"), [("1", "2")]))
    parser = Addresses()
    parser.feed(text)
    assert parser.found == []
    assert "<title>a &lt;script&gt; &amp; b</title>" in text and "some &amp; more" in text
    assert not re.search(r"url\(|@import|http", CSS)
