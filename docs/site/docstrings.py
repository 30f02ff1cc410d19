"""Docstrings of this project as Markdown: what arguments are becomes a list, an example a block of code.

An extension of Griffe, which reads the code for the site. A line `name: text` describes an argument, its
further lines indented by four; two may share a line, with two spaces between them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import griffe

ENTRY = re.compile(r"^(\w+(?:, \w+)*|\([\w ,]+\)): (.*)")
BESIDE = re.compile(r"\.  (?=\w+(?:, \w+)*: )")  # between two entries on one line


class Docstrings(griffe.Extension):
    """Rewrites every docstring as it is found."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Change the text of the docstring of a module, class, function or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)


def markdown(text: str) -> str:
    """The docstring as Markdown."""
    paragraphs = re.split(r"\n[ ]*\n", text)
    return "\n\n".join("\n".join(_paragraph(p.splitlines())) for p in paragraphs)


def _paragraph(lines: list[str]) -> Iterator[str]:
    if lines and lines[0].lstrip().startswith(">>>"):
        yield from ("```pycon", *(line.strip("\n") for line in lines), "```")
        return
    in_list = False
    for line in lines:
        entries = BESIDE.split(line)
        if not all(ENTRY.match(entry) for entry in entries):
            yield "    " + line.strip() if in_list and line.startswith("    ") else line
            continue
        if not in_list:
            yield ""
        in_list = True
        for number, entry in enumerate(entries):
            match = ENTRY.match(entry)
            assert match is not None
            stop = "." if number < len(entries) - 1 else ""
            yield f"- `{match[1]}`: {match[2]}{stop}"
