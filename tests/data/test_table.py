"""A matrix that was read: what a model can be fitted to, and its fingerprint."""

import numpy as np
import pytest
from data_files import MATRICES, NAN, bits, refusal
from hypothesis import given

from twinplate.data.statistics import read_statistics
from twinplate.data.table import Table, check_matrix, fingerprint


def check(x, missing="mask"):
    x = np.asarray(x, dtype=np.float64)
    table = Table(x, tuple("abcdefghi"[: x.shape[1]]), read_statistics(x))
    check_matrix(table, missing=missing)


def test_a_sound_matrix_passes():
    check([[1, 2], [2, 1]], missing="error")
    check([[1, NAN], [2, 1], [NAN, 3]])
    check([[1, 5], [2, 5]])
    check([[1, 2], [NAN, NAN], [3, 4]])  # an item without an entry adds nothing


@pytest.mark.parametrize(
    ("x", "options", "fragments"),
    [
        (
            [[1, 2, 3], [4, NAN, NAN]],
            {"missing": "error"},
            ["2 entries", "row 2", "column 2 ('b')", "--missing mask"],
        ),
        ([[1, NAN, 1], [2, NAN, 0]], {}, ["without any entry", "column 2 ('b')"]),
        ([[1, NAN], [2, NAN]], {"missing": "error"}, ["without any entry", "column 2 ('b')"]),
        (np.full((2, 9), NAN), {}, ["column 5 ('e') and 4 more"]),
    ],
)
def test_refused_matrices(x, options, fragments):
    message = refusal(check, x, **options)
    assert all(fragment in message for fragment in fragments), message


def test_columns_without_a_name_are_named_once():
    x = np.full((2, 2), NAN)
    table = Table(x, ("column 1", "column 2"), read_statistics(x))
    message = refusal(check_matrix, table, missing="mask")
    assert message == "Columns without any entry: column 1, column 2. Drop them."


# ------------------------------------------------------------------------------------ fingerprint


@given(x=MATRICES, y=MATRICES)
def test_fingerprints_are_equal_exactly_when_matrices_are(x, y):
    assert fingerprint(x) == fingerprint(np.asfortranarray(x)) == fingerprint(x.astype(">f8"))
    same = x.shape == y.shape and bits(x) == bits(y)
    assert (fingerprint(x) == fingerprint(y)) == same


def test_fingerprint_knows_shape_value_and_one_nan():
    x = np.arange(6.0).reshape(2, 3)
    assert len({fingerprint(x), fingerprint(x.T), fingerprint(x.reshape(3, 2))}) == 3
    assert fingerprint(x) != fingerprint(x + np.spacing(6.0))
    payload = np.array([[0x7FF8000000000001, 0xFFF8000000000000]], np.uint64).view(np.float64)
    assert fingerprint(payload) == fingerprint(np.array([[NAN, NAN]]))
    assert fingerprint(x) == fingerprint(x.astype(np.int32))


def test_fingerprint_is_fixed():
    """A run written today is recognised for good: the bytes hashed are spelled out here by hand."""
    import hashlib
    import struct

    expected = hashlib.sha256(b"float64 (1, 2) " + struct.pack("<dQ", 1.5, 0x7FF8 << 48))
    assert fingerprint(np.array([[1.5, -NAN]])) == expected.hexdigest()
