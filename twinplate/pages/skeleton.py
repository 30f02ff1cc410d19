"""The skeleton of a page, and the parts that pages are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from twinplate.pages.style import CSS


def document(title: str, body: str, style: str = "") -> str:
    """One whole page that needs nothing from elsewhere. body: HTML.  style: rules beside those of all pages.

    >>> document("A < B", "<p>so</p>").splitlines()[4]
    '<title>A &lt; B</title>'
    """
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{escape(title)}</title>\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{CSS}{style}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of HTML cells, the first of a row its header; it scrolls where it is wider than the page."""
    titles = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    lines = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>'
        for first, *rest in rows
    )
    return (
        f'<div class="scroll" role="group" tabindex="0" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{titles}</tr></thead>"
        f"<tbody>{lines}</tbody></table></div>"
    )


def figure(picture: str, caption: str) -> str:
    """A picture with what it shows in words. picture, caption: HTML."""
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"
