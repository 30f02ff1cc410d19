"""How far the gradient of one item may stand out from those of a mini-batch."""

from __future__ import annotations

MOST = 100.0  # times that of the item at nine tenths


def usual_place(items: int) -> int:
    """Where, among sorted sizes of that many items, the one is that others are measured by.

    The largest of ten or fewer, of which nothing is cut.

    >>> usual_place(1), usual_place(10), usual_place(101)
    (0, 9, 90)
    """
    return -(-9 * (items - 1) // 10)
