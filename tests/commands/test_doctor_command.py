"""`doctor` says what is here, and of what is missing what to do."""

from __future__ import annotations

import json
from importlib import metadata

import pytest
from verify_files import twinplate

from twinplate import backends
from twinplate.commands import doctor_command


def test_what_is_here_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "torch"))
    (tmp_path / "torch" / "aot").mkdir(parents=True)
    (tmp_path / "torch" / "aot" / "program").write_bytes(bytes(2_500_000))
    assert twinplate("doctor", "--json", tmp_path / "doctor.json") == 0
    printed = " ".join(capsys.readouterr().out.split())
    report = json.loads((tmp_path / "doctor.json").read_text())
    for name in ("torch", "pyro-ppl", "jax", "numpyro", "numpy"):
        assert report["versions"][name] == metadata.version(name)
        assert f"{name} {metadata.version(name)}" in printed
    for backend in report["backends"].values():
        assert backend["devices"] and not backend["missing"]
    assert report["backends"]["pyro"]["cache"] == str(tmp_path / "torch")
    assert "1 file, 2.5 MB" in printed
    assert all(sentence in printed for sentence in report["advice"])


@pytest.mark.parametrize(("absent", "code"), [(("jax",), 0), (("jax", "torch"), 1)])
def test_without_a_framework(absent, code, monkeypatch, capsys):
    found = backends._found
    monkeypatch.setattr(backends, "_found", lambda name: name not in absent and found(name))
    assert twinplate("doctor") == code
    printed = capsys.readouterr().out
    assert printed.count("cannot be used") == len(absent)
    assert "needs jax, which cannot be imported; install it with: pip install" in printed


def test_a_broken_installation_is_told(monkeypatch):
    def broken(name):
        raise OSError("libcudart.so.12: cannot open shared object file")

    monkeypatch.setattr(doctor_command, "load_backend", broken)
    told = doctor_command.examine().advice
    assert "backend 'pyro' cannot be used: OSError: libcudart.so.12" in told[0]


def test_what_is_missing_beside_them_is_told(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: name if name == "nvidia-smi" else None)
    monkeypatch.setattr(doctor_command, "OPTIONAL", {"no-such-package": ("pictures", "all")})
    seen = {name: doctor_command.Backend(("cpu",)) for name in backends.BACKENDS}
    monkeypatch.setattr(doctor_command, "_backend", seen.get)
    assert doctor_command.examine().advice == [
        "pyro sees no GPU, although the driver of one is installed: install its build for CUDA",
        "numpyro sees no GPU, although the driver of one is installed: install its build for CUDA",
        "machine_code=True of pyro needs a C++ compiler: install g++ or clang, or set CXX",
        "no-such-package is not installed (pictures): pip install 'twinplate[all]'",
    ]
    seen["numpyro"] = doctor_command.Backend(("NVIDIA H200", "cpu"))
    assert not any("numpyro sees" in sentence for sentence in doctor_command.examine().advice)
