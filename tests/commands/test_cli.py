"""The commands from the outside: what they write, and one clear sentence for whatever they cannot use."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from verify_files import twinplate as run

from twinplate.commands.stopping import SIGNALS
from twinplate.files import written_whole
from twinplate.programs.linear_gaussian import LinearGaussian

TINY = ["--components", "2", "--steps", "5", "--batch-size", "8", "--device", "cpu"]


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """Ctrl-C as in a terminal: in the background, it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with data of every kind."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 5)) @ rng.normal(size=(5, 5)) + 2
    np.savetxt("x.csv", x, delimiter=",", header="p,q,r,s,t", comments="")
    np.save("x.npy", x)
    np.savez("x.npz", x=x)
    holes = x.copy()
    holes[rng.uniform(size=x.shape) < 0.2] = np.nan
    holes[:, 0] = x[:, 0]
    np.save("holes.npy", holes)
    np.save("wide.npy", np.hstack([x, x]))
    parts = {"loadings": rng.normal(size=(5, 2)), "noise_scale": np.full(5, 0.7)}
    np.savez("parts.npz", **parts)
    np.savez("prior.npz", **parts, loc=[1.0, -2.0], scale=[0.5, 3.0])
    return tmp_path


@pytest.fixture(scope="module")
def good_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one fit of complete data left behind."""
    where = tmp_path_factory.mktemp("good")
    rng = np.random.default_rng(1)
    np.save(where / "x.npy", rng.normal(size=(30, 5)))
    assert run("fit", str(where / "x.npy"), *TINY, "--out", str(where / "run")) == 0
    return where / "run"


@pytest.mark.parametrize("given", [[], ["--loadings", "parts.npy"]], ids=["learned", "given"])
@pytest.mark.parametrize("name", ["level.csv", "level.npy"])
def test_a_constant_column_is_left_out_with_a_word(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str, given: list[str]
) -> None:
    """The model is that of the other columns, and `posterior` takes the file as it is, or without it."""
    x = np.load("x.npy")
    level = np.insert(x, 2, 3.0, axis=1)
    np.savetxt("level.csv", level, delimiter=",", header="p,q,flat,r,s,t", comments="")
    np.save("level.npy", level)
    np.save("parts.npy", np.insert(np.ones((5, 2)), 2, 7.0, axis=0))
    options = [*given, *(TINY[2:] if given else TINY)]
    assert run("fit", name, *options, "--out", "run") == 0
    called = "flat" if name == "level.csv" else "column 3"
    assert f"Left out, as they are constant and tell nothing: {called}" in capsys.readouterr().out
    header = json.loads(Path("run/run.json").read_text())
    assert header["data"]["num_features"] == 5 and header["data"]["left_out"] == [called]
    assert run("posterior", "run", name, "--out", "p.npz") == 0
    assert run("posterior", "run", "x.npy", "--out", "q.npz") == 0
    np.testing.assert_array_equal(np.load("p.npz")["loc"], np.load("q.npz")["loc"])


def test_a_mini_batch_larger_than_the_data_is_the_data(folder: Path) -> None:
    assert run("fit", "x.npy", *TINY, "--batch-size", "500", "--out", "run") == 0
    header = json.loads(Path("run/run.json").read_text())
    assert header["config"]["training"]["batch_size"] == 30


@pytest.mark.parametrize("backend", ["pyro", "numpyro"])
@pytest.mark.parametrize(
    ("guide", "covariance"),
    [("diagonal", "diagonal"), ("event", "low-rank"), ("auxiliary", "full")],
)
def test_fit_writes_a_run_and_either_backend_reads_it(
    folder: Path, backend: str, guide: str, covariance: str
) -> None:
    words = ["--backend", backend, "--guide", guide, "--covariance", covariance]
    assert run("fit", "x.csv", *words, *TINY, "--out", "run") == 0
    for reader in ("pyro", "numpyro"):
        out = f"{reader}.npz"
        assert run("posterior", "run", "x.npy", "--backend", reader, "--out", out) == 0
    first, second = np.load("pyro.npz"), np.load("numpyro.npz")
    assert first["loc"].shape == (30, 2)
    assert first["scale_tril"].shape == (30, 2, 2)
    for name in ("loc", "scale_tril"):
        np.testing.assert_allclose(first[name], second[name], rtol=0, atol=1e-12)
    header = json.loads(Path("run/run.json").read_text())
    assert header["step"] == 5
    assert header["config"]["backend"] == backend
    assert header["data"]["columns"] == list("pqrst")
    assert {"raw_loadings", "raw_intercept", "raw_noise_scale"} < set(
        load_file("run/params.safetensors")
    )


def test_given_loadings_stay_and_the_rest_is_learned(folder: Path) -> None:
    assert run("fit", "x.npy", "--loadings", "parts.npz", *TINY, "--out", "run") == 0
    assert {n for n in load_file("run/params.safetensors") if n.startswith("raw")} == {
        "raw_intercept"
    }
    fixed = load_file("run/fixed.safetensors")
    np.testing.assert_array_equal(fixed["loadings"], np.load("parts.npz")["loadings"])


def test_columns_are_found_by_their_names(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In another order, beside an index and what was left out; without names they go by place, said so."""
    x = np.load("x.npy")
    rows = [f"{i},{','.join(map(str, row))}" for i, row in enumerate(np.c_[x, x[:, :1]])]
    Path("frame.csv").write_text("\n".join([",p,q,r,s,t,label", *rows]))
    assert run("fit", "frame.csv", "--drop", "label", *TINY, "--out", "run") == 0
    told = capsys.readouterr().out
    assert "Using 30 items and 5 features: p, q, r, s, t\n" in told
    assert "names of the items: column 1\n" in told and "Left out: label\n" in told
    order = [3, 0, 4, 1, 2]
    np.savetxt("permuted.csv", x[:, order], delimiter=",", header="s,p,t,q,r", comments="")
    for data in ("frame.csv", "permuted.csv", "x.npy"):
        assert run("posterior", "run", data, "--out", f"{data}.npz") == 0
    assert "by place, as x.npy names no columns" in capsys.readouterr().out
    found = [np.load(f"{data}.npz") for data in ("frame.csv", "permuted.csv", "x.npy")]
    for other in found[1:]:
        np.testing.assert_allclose(other["loc"], found[0]["loc"], rtol=0, atol=1e-12)
    assert found[0]["items"].tolist() == [str(i) for i in range(30)] and "items" not in found[1]


@pytest.mark.parametrize("backend", ["pyro", "numpyro"])
@pytest.mark.parametrize("given", ["x.npy", "holes.npy"])
def test_the_posterior_of_nothing_is_the_prior(
    folder: Path, capsys: pytest.CaptureFixture[str], backend: str, given: str
) -> None:
    """In data to fit, where an empty item adds nothing, and in others; also after a fit of complete data."""
    x = np.load(given)
    x[[3, 7]] = np.nan
    np.save("empty.npy", x)
    fitted = "x.npy" if given == "x.npy" else "empty.npy"
    words = ["--backend", backend, "--missing", "mask", *TINY]
    assert run("fit", fitted, *words, "--loadings", "prior.npz", "--out", "run") == 0
    assert run("posterior", "run", "empty.npy", "--out", "p.npz") == 0
    told = "2 items are without any entry, the first in row 4: their posterior is the prior"
    assert capsys.readouterr().out.count(told) == (1 if fitted == "x.npy" else 2)
    found = np.load("p.npz")
    np.testing.assert_array_equal(found["loc"][[3, 7]], [[1, -2], [1, -2]])
    np.testing.assert_array_equal(found["scale_tril"][3], [[0.5, 0], [0, 3]])
    assert np.isfinite(found["loc"]).all() and (found["loc"][0] != [1, -2]).all()


def test_missing_entries_are_masked(folder: Path) -> None:
    assert run("fit", "holes.npy", "--missing", "mask", *TINY, "--out", "run") == 0
    assert run("posterior", "run", "holes.npy", "--out", "p.npz") == 0
    assert np.isfinite(np.load("p.npz")["loc"]).all()


def test_simulated_objective_leaves_the_model_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--objective", "simulated", *TINY, "--steps", "20"]
    assert run("fit", "x.npy", *words, "--out", "run") == 0
    assert "trains the guide alone" in capsys.readouterr().out
    other = ["--objective", "simulated", *TINY, "--steps", "1"]
    assert run("fit", "x.npy", *other, "--out", "run1") == 0
    first, second = (load_file(f"{r}/params.safetensors") for r in ("run", "run1"))
    np.testing.assert_array_equal(first["raw_loadings"], second["raw_loadings"])


def test_the_printed_numbers_are_those_of_the_closed_form(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--loadings", "parts.npz", "--guide", "diagonal", *TINY, "--steps", "1"]
    assert run("fit", "x.npy", *words, "--learning-rate", "1e-9", "--out", "run") == 0
    fixed = load_file("run/fixed.safetensors")
    model = LinearGaussian(fixed["loadings"], np.load("x.npy").mean(axis=0), fixed["noise_scale"])
    evidence = model.log_evidence(np.load("x.npy")).mean()
    assert f"{evidence:.4f}" in capsys.readouterr().out


BAD = [
    ("fit nothing.csv --out run", "nothing.csv"),
    ("fit empty.csv --out run", "empty"),
    ("fit words.csv --out run", "column 2"),
    ("fit ragged.csv --out run", "line 3"),
    ("fit infinite.npy --out run", "infinit"),
    ("fit holes.npy --out run", "--missing mask"),
    ("fit blank-column.npy --missing mask --out run", "without any entry"),
    ("fit constants.npy --out run", "all columns are constant"),
    ("fit x.npy --out run --components 6", "expected 1 to min(items, features) = 5"),
    ("fit x.npy --out run --components 0", "num_components is 0"),
    ("fit x.npy --out run --batch-size 0", "batch_size is 0"),
    ("fit x.npy --out run --rank 3 --covariance low-rank", "rank is 3"),
    ("fit x.npy --out run --guide diagonal --covariance full", "diagonal guide cannot"),
    ("fit x.npy --out run --guide round", "'event' or 'auxiliary'"),
    ("fit x.npy --out run --backend stan", "'pyro' or 'numpyro'"),
    ("fit x.npy --out run --objective map", "--objective"),
    ("fit x.npy --out run --missing drop", "--missing"),
    ("fit x.npy --out run --precision float16", "precision"),
    ("fit x.npy --out run --device tpu", "device"),
    ("fit x.npy --out run --learning-rate 0", "learning_rate"),
    ("fit wide.npy --out run --loadings parts.npz", "one for each column"),
    ("fit x.npy --out x.csv", "exists"),
    ("posterior nowhere x.npy --out p.npz", "does not exist"),
    ("posterior good wide.npy --out p.npz", "have 10 columns"),
    ("posterior named other.csv --out p.npz", "missing: q, r, s, t; unknown: u, v, w, z"),
    ("fit x.csv --columns p,u --out run", "no column u; it has p, q, r, s, t"),
    ("posterior good holes.npy --out p.npz", "never seen one"),
    ("posterior good x.npy --out x.csv", "exists"),
    ("posterior cut x.npy --out p.npz", "cut"),
]


@pytest.mark.parametrize(("words", "told"), BAD, ids=[w for w, _ in BAD])
def test_bad_input_is_one_sentence_and_exit_code_2(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
    words: str,
    told: str,
) -> None:
    x = np.load("x.npy")
    Path("empty.csv").write_text("")
    Path("words.csv").write_text("a,b\n1,2\n3,four\n")
    Path("ragged.csv").write_text("1,2\n3,4\n5\n")
    np.save("infinite.npy", np.where(x == x.max(), np.inf, x))
    np.save("blank-column.npy", np.where(np.arange(5) == 1, np.nan, x))
    np.save("constants.npy", np.full((30, 5), 3.0))
    if words.startswith("posterior"):
        for name in ("good", "cut", "named"):
            shutil.copytree(request.getfixturevalue("good_run"), name)
        header = json.loads(Path("named/run.json").read_text())
        header["data"] |= {"columns": list("pqrst"), "named": True}
        del header["checksum"], header["notes"]  # as in a run of before
        Path("named/run.json").write_text(json.dumps(header))
        np.savetxt("other.csv", x, delimiter=",", header="p,u,v,w,z", comments="")
        params = Path("cut/params.safetensors")
        params.write_bytes(params.read_bytes()[:-10])
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    capsys.readouterr()
    words_given = words.split()
    defaults = TINY if words_given[0] == "fit" else []
    if "--loadings" in words_given:
        defaults = TINY[2:]
    assert run(words_given[0], *defaults, *words_given[1:]) == 2
    printed = capsys.readouterr()
    assert told in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    assert "Traceback" not in printed.err
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before


@pytest.mark.parametrize("backend", ["pyro", "numpyro"])
def test_a_fit_that_diverges_saves_what_it_had_reached(
    folder: Path, capsys: pytest.CaptureFixture[str], backend: str
) -> None:
    words = [*TINY, "--steps", "150", "--learning-rate", "1e30", "--backend", backend]
    assert run("fit", "x.npy", *words, "--out", "run") == 2
    told = capsys.readouterr().err
    step = json.loads(Path("run/run.json").read_text())["step"]
    assert f"at step {step} of 150" in told and "saved in run" in told
    assert "learning rate far below 1e+30" in told and "Traceback" not in told
    assert 1 <= step < 150 and np.load("run/losses.npy").shape == (step,)
    assert all(np.isfinite(values).all() for values in load_file("run/params.safetensors").values())


@pytest.mark.parametrize(
    ("backend", "number"), [("pyro", signal.SIGINT), ("numpyro", signal.SIGTERM)]
)
def test_a_signal_saves_what_was_reached(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    backend: str,
    number: signal.Signals,
) -> None:
    @contextmanager
    def progress(*_: object) -> Iterator[Callable[..., None]]:
        yield lambda done, losses: os.kill(os.getpid(), number)

    monkeypatch.setattr("twinplate.commands.training_run.training_progress", progress)
    before = signal.getsignal(number)
    words = [*TINY, "--steps", "150", "--backend", backend]
    assert run("fit", "x.csv", *words, "--out", "run") == 128 + number
    told = capsys.readouterr().err
    assert "after step 100, by" in told and told.endswith("what was reached is saved in run\n")
    assert json.loads(Path("run/run.json").read_text())["step"] == 100
    assert np.load("run/losses.npy").shape == (100,)
    assert run("posterior", "run", "x.csv", "--out", "p.npz") == 0
    assert signal.getsignal(number) is before


def test_a_signal_before_the_first_step_has_nothing_to_save(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "twinplate.commands.fit_command.make_program", lambda *_, **__: signal.raise_signal(15)
    )
    assert run("fit", "x.csv", *TINY, "--out", "run") == 143
    assert "by SIGTERM; nothing was reached" in capsys.readouterr().err
    assert not Path("run").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("words", "within"),
    [
        ("demo --out made", "twinplate.demo.run.run_demo"),
        ("bench --json made", "twinplate.commands.bench_command.run_bench"),
        ("posterior run x.csv --out made", "twinplate.commands.posterior_command.run_posterior"),
        ("verify x.py --json made", "twinplate.commands.verify_command.run_verify"),
    ],
)
def test_a_signal_ends_every_command_and_nothing_is_half_written(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: str,
    within: str,
    number: signal.Signals,
) -> None:
    def writing(*_: object, **__: object) -> None:
        with written_whole(Path("made/deep")) as temporary:
            temporary.write_text("half")
            signal.raise_signal(number)

    monkeypatch.setattr(within, writing)
    before = sorted(folder.rglob("*")), signal.getsignal(number)
    assert run(*words.split()) == 128 + number
    told = capsys.readouterr().err
    assert told.endswith(f"interrupted, by {SIGNALS[number]}\n") and "Traceback" not in told
    assert (sorted(folder.rglob("*")), signal.getsignal(number)) == before


def test_missing_framework_names_the_extra(folder: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; sys.argv = 'twinplate fit x.npy --components 2 "
        "--backend pyro --out run'.split()\nfrom twinplate.cli import main\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'twinplate[pyro]'" in done.stderr
    assert not Path("run").exists()


def test_without_progress_the_results_are_told_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = []
    for number, quiet in enumerate(([], ["--quiet"], [])):  # which holds for one command alone
        assert run(*quiet, "fit", "x.npy", *TINY, "--steps", "1", "--out", f"run{number}") == 0
        printed = capsys.readouterr()
        assert f"Saved the run in run{number}" in printed.out
        told.append(printed.err)
    assert "1 step" in told[0] and "1 step" in told[2] and not told[1]


def test_features_that_single_precision_rounds_are_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """1e8 ± 3: neighbours in float32 are 8 apart."""
    x = np.load("x.npy")
    x[:, 1] += 1e8
    np.savetxt("far.csv", x, delimiter=",", header="p,q,r,s,t", comments="")
    for precision, said in (("float32", True), ("float64", False)):
        words = ["far.csv", *TINY, "--precision", precision, "--out", precision]
        assert run("fit", *words) == 0
        told = capsys.readouterr()
        assert ("Note: float32 rounds q by more than 3 % of the noise" in told.out) == said
        assert "Warning" not in told.err
