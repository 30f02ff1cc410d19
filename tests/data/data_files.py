"""Matrices as bytes of data files, and the message of a refusal."""

import io

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest

from twinplate.errors import InputError

NAN = float("nan")
FLOATS = st.floats(allow_infinity=False, width=64)
MATRICES = hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2), elements=FLOATS)


def npy(x) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(x))
    return buffer.getvalue()


def npz(compressed: bool = False, **arrays) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    return buffer.getvalue()


def parquet(**columns) -> bytes:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def refusal(function, *args, **kwargs) -> str:
    with pytest.raises(InputError) as caught:
        function(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message


def bits(x: np.ndarray) -> bytes:
    """The bytes of `x` with all NaNs alike: equality to the last bit, the sign of zero included."""
    return np.where(np.isnan(x), NAN, x).tobytes()
