"""The mapping of two programs' parameters as a JSON file: one line for each link, to be read and edited."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from twinplate.conversion.contents import read_content
from twinplate.conversion.links import PACKINGS, Link, Parameters, whole_shape
from twinplate.errors import InputError
from twinplate.files import write_text
from twinplate.verification.matching.parameters import Rename

FORMAT = "twinplate mapping"
VERSION = 1
MOST = 2**26  # bytes
NEEDED = {"first", "second", "axes"}
OPTIONAL = {"packing", "order", "how", "rename", "shapes", "constraints", "optimizer"}
Described = dict[str, Any]


def write_mapping(
    path: Path, links: Iterable[Link], first: Parameters, second: Parameters, reset: Iterable[str]
) -> None:
    """Write the file, in place of what it was. reset: parameters whose moments were not carried over."""
    lost = set(reset)
    lines = [json.dumps(_described(link, first, second, lost)) for link in links]
    text = ",\n    ".join(lines)
    head = f'{{\n  "format": "{FORMAT}",\n  "version": {VERSION},\n  "links": [\n    '
    write_text(path, f"{head}{text}\n  ]\n}}\n")


def _described(link: Link, first: Parameters, second: Parameters, lost: set[str]) -> Described:
    described: Described = {
        "first": _one_or_more(link.first),
        "second": _one_or_more(link.second),
        "axes": list(link.axes),
    }
    if link.packing:
        described |= {"packing": link.packing, "order": list(link.order)}
    if link.functions is not None:
        described["rename"] = True
    described["shapes"] = [list(shape) for shape in link.shapes]
    described["constraints"] = [
        _one_or_more([first[name].constraint for name in link.first]),
        _one_or_more([second[name].constraint for name in link.second]),
    ]
    if lost & {*link.first, *link.second}:
        described["optimizer"] = "starts anew"
    return {**described, "how": link.how}


def _one_or_more(names: Iterable[str]) -> str | list[str]:
    found = list(names)
    return found[0] if len(found) == 1 else found


def read_mapping(
    path: Path, first: Parameters, second: Parameters, rename: Rename
) -> tuple[Link, ...]:
    """The links of a file, for programs with these parameters. rename: of the case, for links that name it.

    Raises InputError, with the line's number, for what does not fit the programs.
    """
    try:
        described = json.loads(read_content(path, MOST))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path} is no JSON file ({error}); expected one that `convert` wrote"
        ) from error
    told = described if isinstance(described, dict) else {}
    if (told.get("format"), told.get("version")) != (FORMAT, VERSION):
        raise InputError(
            f"{path} is no mapping of version {VERSION}: expected a file that `convert` wrote, with the "
            f"format {FORMAT!r}"
        )
    lines = told.get("links")
    if not isinstance(lines, list):
        raise InputError(f"{path} has no list of links; expected one that `convert` wrote")
    links = []
    for number, line in enumerate(lines, 1):
        try:
            links.append(_link(line, first, second, rename))
        except InputError as error:
            raise InputError(f"{path}, link {number}: {error}") from error
    return tuple(links)


def _link(line: Any, first: Parameters, second: Parameters, rename: Rename) -> Link:
    if not isinstance(line, dict) or not set(line) >= NEEDED or set(line) - NEEDED - OPTIONAL:
        raise InputError(
            f"expected an object with {', '.join(sorted(NEEDED))} and perhaps {', '.join(sorted(OPTIONAL))}"
        )
    names = _names(line, "first", first), _names(line, "second", second)
    shapes = whole_shape(names[0], first), whole_shape(names[1], second)
    how = line.get("how", "")
    how = how if isinstance(how, str) else ""
    if line.get("rename") is True:
        entry = rename.get(names[0][-1], "")
        if isinstance(entry, str):
            raise InputError(f"the case's rename has no functions for {names[0][-1]!r}")
        return Link(*names, shapes, how=how, functions=(entry[1], entry[2]))
    axes = _places(line, "axes", len(shapes[0]))
    if math.prod(shapes[0]) != math.prod(shapes[1]):
        raise InputError(
            f"{names[0][-1]!r} has shape {shapes[0]}, {names[1][-1]!r} {shapes[1]}; expected as many numbers"
        )
    packing = line.get("packing", "")
    if packing not in ("", *PACKINGS):
        raise InputError(f"packing is {packing!r}; expected one of {', '.join(PACKINGS)}")
    order = _places(line, "order", _packed_size(packing, shapes[1])) if packing else ()
    return Link(*names, shapes, axes, packing, order, how)


def _names(line: Described, which: str, parameters: Parameters) -> tuple[str, ...]:
    given = line[which]
    names = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, list) else ()
    unknown = [name for name in names if not isinstance(name, str) or name not in parameters]
    if unknown or not names or len(set(names)) < len(names):
        raise InputError(
            f"{which} is {str(given)[:80]!r}; expected parameters of the {which} program: "
            f"{', '.join(parameters)}"
        )
    return names


def _packed_size(packing: str, shape: tuple[int, ...]) -> int:
    if packing == "entries":
        return math.prod(shape)
    dim = -2 if packing == "cov_factor" else -1
    square = len(shape) > 1 and shape[-1] == shape[-2]
    if len(shape) < (2 if packing == "cov_factor" else 1) or (
        packing == "scale_tril" and not square
    ):
        raise InputError(f"a parameter of shape {shape} is no {packing} of a joint guide")
    return shape[dim]


def _places(line: Mapping[str, Any], key: str, size: int) -> tuple[int, ...]:
    places = line.get(key)
    if (
        not isinstance(places, list)
        or len(places) != size
        or not all(type(i) is int and 0 <= i < size for i in places)
        or not np.array_equal(np.sort(np.array(places, int)), np.arange(size))
    ):
        raise InputError(
            f"{key} is {str(places)[:80]}; expected each number from 0 to {size - 1} once"
        )
    return tuple(places)
