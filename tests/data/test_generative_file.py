"""The files beside the data: generative parameters that are given, posteriors that are written."""

import numpy as np
import pytest

from twinplate.data.readers import load_generative
from twinplate.errors import InputError

NAN = float("nan")
LOADINGS = [[1.0, 0.5], [0.0, 1.0], [2.0, -1.0]]  # D = 3, K = 2


def refusal(function, *args) -> str:
    with pytest.raises(InputError) as caught:
        function(*args)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("suffix", ["csv", "npy", "npz", "parquet"])
def test_loadings_alone(tmp_path, suffix):
    path = tmp_path / f"w.{suffix}"
    if suffix == "csv":
        path.write_text("part 1,part 2\n1,0.5\n0,1\n2,-1\n")
    elif suffix == "npy":
        np.save(path, np.array(LOADINGS, np.float32))
    elif suffix == "npz":
        np.savez(path, loadings=LOADINGS)
    else:
        pa = pytest.importorskip("pyarrow")
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"u": [1.0, 0, 2], "v": [0.5, 1, -1]}), path)
    loaded = load_generative(path)
    assert list(loaded) == ["loadings"]
    assert loaded["loadings"].dtype == np.float64
    assert loaded["loadings"].tolist() == LOADINGS


def test_everything_at_once(tmp_path):
    values = {
        "loadings": LOADINGS,
        "intercept": [1, 2, 3],
        "noise_scale": [0.1, 0.2, 0.3],
        "loc": [0.0, -1.0],
        "scale": [1.0, 2.0],
    }
    np.savez(tmp_path / "w.npz", **values)
    loaded = load_generative(tmp_path / "w.npz")
    assert {name: value.tolist() for name, value in loaded.items()} == values


@pytest.mark.parametrize(
    ("arrays", "fragments"),
    [
        ({"W": LOADINGS}, ["'W'", "loadings, intercept, noise_scale, loc, scale"]),
        ({"loadings": LOADINGS, "bias": [1.0]}, ["'bias'", "intercept"]),
        ({"intercept": np.ones(3)}, ["no array `loadings`"]),
        ({"loadings": np.ones(3)}, ["`loadings`", "(3,)", "(D, K)"]),
        ({"loadings": np.ones((3, 0))}, ["(3, 0)"]),
        ({"loadings": [["1", "2"]]}, ["`loadings`", "<U1"]),
        ({"loadings": [[1.0, NAN]]}, ["`loadings`", "nan", "[1, 2]", "finite"]),
        ({"loadings": LOADINGS, "intercept": np.ones(2)}, ["`intercept`", "(2,)", "(3,)"]),
        ({"loadings": LOADINGS, "intercept": 1.0}, ["`intercept`", "()", "(3,)"]),
        ({"loadings": LOADINGS, "intercept": [1, np.inf, 1]}, ["`intercept`", "inf", "[2]"]),
        ({"loadings": LOADINGS, "noise_scale": np.ones((3, 1))}, ["`noise_scale`", "(3, 1)"]),
        ({"loadings": LOADINGS, "noise_scale": [1, 1, 0]}, ["`noise_scale`", "[3]", "positive"]),
        ({"loadings": LOADINGS, "scale": [-1, 1]}, ["`scale`", "-1.0", "[1]", "positive"]),
        ({"loadings": LOADINGS, "scale": [NAN, 1]}, ["`scale`", "nan", "positive"]),
        ({"loadings": LOADINGS, "loc": np.ones(3)}, ["`loc`", "(3,)", "(2,)"]),
        ({"loadings": LOADINGS, "loc": [1, 1j]}, ["`loc`", "complex128"]),
    ],
)
def test_refused_generative_parameters(tmp_path, arrays, fragments):
    np.savez(tmp_path / "w.npz", **arrays)
    message = refusal(load_generative, tmp_path / "w.npz")
    assert "w.npz" in message
    assert all(fragment in message for fragment in fragments), message


def test_loadings_must_be_whole_in_every_format(tmp_path):
    (tmp_path / "w.csv").write_text("1,2\n3,\n")
    np.save(tmp_path / "w.npy", np.ones(3))
    (tmp_path / "w.npz").write_bytes(b"PK")
    assert "nan" in refusal(load_generative, tmp_path / "w.csv")
    assert "(3,)" in refusal(load_generative, tmp_path / "w.npy")
    assert "truncated" in refusal(load_generative, tmp_path / "w.npz")
    assert "does not exist" in refusal(load_generative, tmp_path / "v.npz")
