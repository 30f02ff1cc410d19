"""The page that `twinplate verify --html` writes: whole, with nothing from elsewhere, numbers on demand."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from verify_files import BOTH, WRONG, file, twinplate

pytestmark = pytest.mark.usefixtures("own_folder")


class Balanced(HTMLParser):
    """Checks that every element is closed and nothing is loaded from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.outside: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        if tag not in ("meta", "br"):
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href") and not value.startswith("#"):
                self.outside.append(value)
            if name == "id":
                self.ids.append(value)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_loads_nothing_and_shows_names_as_they_are() -> None:
    nasty = WRONG.replace('"x"', '"<script>&x"')
    assert twinplate("verify", file(nasty), "--html", "r.html") == 1
    text = Path("r.html").read_text()
    parser = Balanced()
    parser.feed(text)
    assert (parser.open, parser.outside) == ([], [])
    assert len(set(parser.ids)) == len(parser.ids) == 5
    assert "<script" not in text and "&lt;script&gt;&amp;x" in text
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(parser.ids)
    assert not re.search(r"url\(|@import|http", text)


def test_sites_of_one_program_of_other_shapes_and_without_values_are_shown() -> None:
    odd = BOTH.replace(
        "def pyro_guide",
        """    pyro.sample("alone", pdist.Normal(mu, 1.0), obs=torch.tensor(2.5))
    pyro.factor("f", mu)
    pyro.deterministic("d", mu * torch.ones(12))

def pyro_guide""",
    ).replace(
        "def numpyro_guide",
        """    numpyro.factor("f", mu)
    numpyro.deterministic("d", mu * np.ones(13))

def numpyro_guide""",
    )
    assert twinplate("verify", file(odd), "--html", "r.html", "--json", "r.json") == 1
    text = Path("r.html").read_text()
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    rows = dict(re.findall(r'class="name">(\w+)<.*?class="mark">(.*?)</span>', text, re.DOTALL))
    assert rows["alone"] == rows["d"] == "✗ differs"
    assert rows["f"] == rows["x"] == "✓"
    assert "<td></td><td>2.5</td><td>–</td>" in text
    assert "value <small>5 of 12 numbers</small>" in text


def test_the_numbers_on_demand_point_at_the_worst() -> None:
    twinplate("verify", file(WRONG), "--html", "r.html")
    text = Path("r.html").read_text()
    shown = text[text.index('class="name">x<') :]
    rows = re.findall(
        r"<tr( class=worst)?><td>\[0, (\d)\].*?</td><td>(.*?)</td><td>(.*?)</td>", shown
    )
    apart = [abs(float(a) - float(b)) for _, _, a, b in rows[:3]]
    assert [bool(worst) for worst, *_ in rows[:3]] == [v == max(apart) for v in apart]


def test_the_numbers_on_demand_hold_the_arguments_that_differ() -> None:
    twinplate("verify", file(WRONG), "--html", "r.html")
    text = Path("r.html").read_text()
    assert re.findall(r"<h3>(loc|scale) ", text) == ["scale"]
    row = r"<td>\[0\] worst</td><td>0\.5</td><td>0\.25</td><td>-2\.50e-01</td>"
    assert len(re.findall(row, text)) == 1


def test_nothing_is_compared_with_a_program_that_stopped() -> None:
    """It may have stopped on draws of its own: their distance from the other program's says nothing."""
    stopping = BOTH.replace("ndist.Normal(mu, 0.5)", "ndist.Normal(mu * np.ones((2, 4)), 0.5)")
    assert twinplate("verify", file(stopping), "--html", "r.html") == 2
    text = Path("r.html").read_text()
    assert "nothing is compared" in text
    assert "second − first" not in text and "worst</td>" not in text
