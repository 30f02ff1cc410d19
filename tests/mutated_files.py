"""Mistakes put into files on purpose: into their bytes, and into the data that they hold."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

# What takes the place of a part of a JSON text.
ODD: list[Callable[[], Any]] = [
    lambda: None,
    lambda: True,
    lambda: -1,
    lambda: 0,
    lambda: 1,
    lambda: 3,
    lambda: 2.5,
    lambda: "event",
    lambda: ["a", "b"],
    lambda: 2**63,
    lambda: 10**30,
    lambda: 1e308,
    lambda: float("nan"),
    lambda: float("-inf"),
    lambda: "",
    lambda: "../../../etc/passwd",
    lambda: "\ud800",
    lambda: [],
    lambda: {},
    lambda: [[]] * 1000,
    lambda: {"": {"": []}},
    lambda: _nested(80),
    lambda: _nested(5000),
]


def _nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def bytes_changed(content: bytes, chance: random.Random) -> bytes:
    """Cut off, with something put in, written over, taken out, twice, or with an abyss of brackets."""
    place = chance.randrange(len(content) + 1)
    some = bytes(chance.choice(b"\0\xff[{(9'\\,:eL") for _ in range(chance.choice((1, 1, 4, 50))))
    ways = (
        content[:place],
        content[:place] + some + content[place:],
        content[:place] + some + content[place + len(some) :],
        content[:place] + content[place + chance.randrange(1, 9) :],
        content + content,
        content[:place] + chance.choice((b"[", b"(", b'{"":')) * 100_000,
    )
    return chance.choice(ways)


def structure_changed(content: bytes, chance: random.Random) -> bytes:
    """Another value in a JSON text, or in that at the head of a safetensors file; or another NPY header."""
    if content.startswith(b"\x93NUMPY"):
        shape = chance.choice(
            (b"(10**9,)", b"(999999999999,)", b"(-1,)", b"(4, 1)", b"(((((4,)", b"(4")
        )
        return content.replace(b"(4,)", shape) + b"\0" * chance.choice((0, 8))
    try:
        size = 0 if content.startswith(b"{") else 8 + int.from_bytes(content[:8], "little")
        tree = json.loads(content[8:size] if size else content)
        swap(tree, chance)
        text = json.dumps(tree).encode()
    except (ValueError, RecursionError, TypeError):
        return bytes_changed(content, chance)
    return len(text).to_bytes(8, "little") + text + content[size:] if size else text


def swap(tree: Any, chance: random.Random) -> None:
    """Put something odd in the place of one value, or take a key away, or add one."""
    while True:
        places = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
        if not places:
            return
        key = chance.choice(places)
        inner = tree[key]
        if isinstance(inner, dict | list) and inner and chance.random() < 0.8:
            tree = inner
            continue
        way = chance.random()
        if way < 0.1:
            del tree[key]
        elif way < 0.2 and isinstance(tree, dict):
            tree[chance.choice(("", "a", "backend", "learned"))] = chance.choice(ODD)()
        else:
            tree[key] = chance.choice(ODD)()
        return
