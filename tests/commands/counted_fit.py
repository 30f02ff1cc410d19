"""`twinplate fit` on a file that counts as large, which tells what rows of it were asked for.

python counted_fit.py FILE.json WORDS...
"""

import json
import sys

from twinplate.cli import main
from twinplate.data import readers
from twinplate.data.parquet_file import StoredParquet

asked: list[tuple[int, int]] = []
pieces = StoredParquet.pieces


def counted(self, start, stop):
    asked.append((int(start), int(stop)))
    return pieces(self, start, stop)


if __name__ == "__main__":
    readers.MAPPED_BYTES, StoredParquet.pieces = 0, counted
    told, sys.argv = sys.argv[1], ["twinplate", *sys.argv[2:]]
    try:
        main()
    finally:
        with open(told, "w") as file:
            json.dump(asked, file)
