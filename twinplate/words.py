"""Numbers with their nouns, as messages say them."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str = "") -> str:
    """`number` and its noun: 1 item, 2,000 items. `plural` where it is not the noun with an s."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def are(number: int) -> str:
    """The verb for `number` things."""
    return "is" if number == 1 else "are"
