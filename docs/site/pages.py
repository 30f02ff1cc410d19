"""Pages of the site that stand elsewhere in the checkout, and links from page to page that fit the site.

A hook of MkDocs. README.md, CONTRIBUTING.md and their like become pages; what else a page links to in the
checkout, an example or a picture, goes along as a file under `checkout/`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
# By their paths in the checkout: where they are in the site.
PAGES = {
    "README.md": "index.md",
    "docs/README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
}
LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")
FENCED = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)


def on_files(files: Files, config: Any) -> Files:
    """All pages, and the files that they link to."""
    for source, place in PAGES.items():
        if place not in files.src_uris:
            text = (ROOT / source).read_text("utf-8")
            files.append(File.generated(config, place, content=text))
    for page in [*files.documentation_pages()]:
        source = _source(page.src_uri)
        for target, _ in _links((ROOT / source).read_text("utf-8"), source):
            place = _place(target)
            if (ROOT / target).is_file() and place not in files.src_uris:
                files.append(File.generated(config, place, abs_src_path=str(ROOT / target)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """The page, its links changed to where things are in the site."""
    here = page.file.src_uri
    source = _source(here)

    def moved(match: re.Match[str]) -> str:
        target = _target(match[1], source)
        if (ROOT / target).is_dir():  # a folder of code is no page
            return posixpath.relpath("index.md", posixpath.dirname(here) or ".")
        return posixpath.relpath(_place(target), posixpath.dirname(here) or ".") + (match[2] or "")

    parts = FENCED.split(markdown)
    return "".join(part if part.startswith("```") else LINK.sub(moved, part) for part in parts)


def on_post_build(config: Any) -> None:
    """The index of the search as a script too: a page that was opened from a disk may read no other file."""
    index = Path(config["site_dir"]) / "search" / "search_index.json"
    index.with_suffix(".js").write_text(f"var __index = {index.read_text('utf-8')}", "utf-8")


def _source(place: str) -> str:
    """Where in the checkout the page at this place of the site stands."""
    return next((source for source, found in PAGES.items() if found == place), f"docs/{place}")


def _place(target: str) -> str:
    """Where in the site a file of the checkout is."""
    if target in PAGES:
        return PAGES[target]
    return target.removeprefix("docs/") if target.startswith("docs/") else f"checkout/{target}"


def _target(link: str, source: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), link))


def _links(text: str, source: str) -> Iterator[tuple[str, str]]:
    """What a page links to, in the checkout, and where there."""
    for part in FENCED.split(text):
        if not part.startswith("```"):
            yield from (
                (_target(found[1], source), found[2] or "") for found in LINK.finditer(part)
            )
