"""Files of parameters: what each framework's users have is read, a stranger's is read or refused."""

from __future__ import annotations

import contextlib
import io
import pickle
import zipfile
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pyro
import pytest
import torch
from flax.serialization import to_bytes
from hypothesis import HealthCheck, given, settings
from mutated_files import bytes_changed, structure_changed
from pyro.distributions import constraints

import pyro_impl
from twinplate import InputError, Trained
from twinplate.conversion.files import read_optimizer, read_trained
from twinplate.conversion.links import Link
from twinplate.conversion.mapping_file import read_mapping, write_mapping
from twinplate.records.record import Parameter

LOC, SCALE = np.array([0.5, -1.0, 2.0]), np.array(0.3)
PARAMS = {"loc": LOC, "net/scale": SCALE}


class Evil:
    """What runs when it is unpickled."""

    def __reduce__(self):
        return open, ("ran", "w")


@pytest.fixture
def store(own_world):
    """A parameter store with a step of Adam taken: moments 0.1 and 0.001 where the gradient is 1."""
    pyro.param("loc", torch.tensor(LOC))
    pyro.param("scale", torch.tensor(0.3), constraint=constraints.interval(0.0, torch.tensor(4.0)))
    optim = pyro.optim.Adam({"lr": 0.0})
    leaves = dict(pyro.get_param_store().named_parameters())
    for leaf in leaves.values():
        leaf.grad = torch.ones_like(leaf)
    optim(leaves.values())
    return pyro.get_param_store(), optim


def test_pyros_own_files(store, own_folder):
    params, optim = store
    params.save("store.pt")
    optim.save("optim.pt")
    taken = read_trained(Path("store.pt"), "pyro")
    np.testing.assert_array_equal(taken.params["loc"], LOC)
    np.testing.assert_allclose(taken.params["scale"], np.log(0.3 / 3.7), rtol=1e-12)
    assert taken.unconstrained == {"loc", "scale"}
    moments = read_optimizer(Path("optim.pt"), "pyro")
    np.testing.assert_allclose(moments.mean["loc"], np.full(3, 0.1), rtol=1e-12)
    np.testing.assert_allclose(moments.variance["scale"], 1e-3, rtol=1e-12)
    assert moments.steps == {"loc": 1, "scale": 1}


def test_what_is_saved_is_loaded(store, own_folder):
    taken = pyro_impl.trained(store[1])
    taken.save("trained.safetensors")
    found = read_trained(Path("trained.safetensors"), "numpyro")
    for name in ("params", "mean", "variance"):
        ours, theirs = getattr(taken, name), getattr(found, name)
        assert {n: x.tolist() for n, x in ours.items()} == {
            n: x.tolist() for n, x in theirs.items()
        }
    assert found.steps == taken.steps and found.params["scale"].shape == ()


def test_arrays_by_name_and_flaxs_file(own_folder):
    np.savez("p.npz", **PARAMS, order=np.asfortranarray(np.arange(6.0).reshape(2, 3)))
    np.savez_compressed("q.npz", **PARAMS)
    Path("p.msgpack").write_bytes(to_bytes({"loc": LOC, "net": {"scale": SCALE}}))
    for name in ("p.npz", "q.npz", "p.msgpack"):
        found = read_trained(Path(name), "numpyro").params
        assert {n: found[n].tolist() for n in PARAMS} == {n: x.tolist() for n, x in PARAMS.items()}
    found = read_trained(Path("p.npz"), "numpyro").params
    assert found["order"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_what_would_run_is_refused(own_folder):
    torch.save({"loc": torch.ones(2), "evil": Evil()}, "evil.pt")
    torch.save(torch.nn.Linear(2, 3), "module.pt")
    np.savez("evil.npz", loc=np.array([Evil()], dtype=object))
    Path("evil.pkl").write_bytes(pickle.dumps(Evil()))
    Path("old.pt").write_bytes(pickle.dumps({"loc": Evil()}))
    for name, framework, message in (
        (
            "evil.pt",
            "pyro",
            r"evil.pt cannot be loaded without running what is in it.*load it and save",
        ),
        ("module.pt", "pyro", "module.pt cannot be loaded without running"),
        ("old.pt", "pyro", "old.pt cannot be loaded without running"),
        ("evil.npz", "numpyro", "'loc', which is no array of real numbers"),
        ("evil.pkl", "numpyro", r"evil.pkl is pickled.*numpyro_impl.trained\(svi, state\).save"),
        ("evil.pkl", "pyro", r"evil.pkl is pickled.*get_param_store\(\).save"),
        ("p.orbax", "numpyro", r"none of the suffixes.*\.safetensors, \.npz, \.msgpack"),
        ("gone.npz", "numpyro", "gone.npz does not exist"),
    ):
        with pytest.raises(InputError, match=message):
            read_trained(Path(name), framework)
    assert not Path("ran").exists()


def test_small_files_do_not_make_for_much_memory(own_folder):
    torch.save({"loc": torch.zeros(1).expand(10**12)}, "repeated.pt")
    header = b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (%d,), }\n"
    with zipfile.ZipFile("zeros.npz", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("loc.npy", header % 2**24 + bytes(2**27))
    with zipfile.ZipFile("short.npz", "w") as file:
        file.writestr("loc.npy", header % 2**40 + bytes(8))
    for name, framework, message in (
        ("repeated.pt", "pyro", "says that it holds 4,000,000,000,000, most of them in 'loc'"),
        ("zeros.npz", "numpyro", "says that it holds 134,"),
        ("short.npz", "numpyro", "'loc' has not as many numbers as it says"),
    ):
        with pytest.raises(InputError, match=message):
            read_trained(Path(name), framework)


def good_files() -> dict[str, bytes]:
    """One of each kind."""
    safe = Trained(PARAMS, {"loc": LOC}, {"loc": LOC**2}, {"loc": 3})
    npz, pt = io.BytesIO(), io.BytesIO()
    np.savez(npz, **PARAMS)
    torch.save({"params": {"loc": torch.tensor(LOC)}, "constraints": {"loc": constraints.real}}, pt)
    return {
        "safetensors": safe.content(),
        "npz": npz.getvalue(),
        "pt": pt.getvalue(),
        "msgpack": to_bytes(PARAMS),
    }


GOOD = good_files()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("mutated")


@settings(max_examples=200, deadline=5000, suppress_health_check=list(HealthCheck))
@given(chance=st.randoms(use_true_random=False), kind=st.sampled_from(sorted(GOOD)))
def test_a_strangers_file_is_read_or_refused(folder, chance, kind):
    path = folder / f"a.{kind}"
    change = structure_changed if kind == "safetensors" else bytes_changed
    path.write_bytes(change(GOOD[kind], chance))
    with contextlib.suppress(InputError):
        found = read_trained(path, "pyro" if kind == "pt" else "numpyro")
        assert all(x.nbytes < 2**20 for x in found.params.values())


@settings(max_examples=200, deadline=5000, suppress_health_check=list(HealthCheck))
@given(chance=st.randoms(use_true_random=False))
def test_a_strangers_mapping_is_read_or_refused(folder, chance):
    one = {"loc": Parameter("real", np.zeros((2, 3))), "scale": Parameter("positive", np.ones(3))}
    links = [
        Link((n,), (n,), (p.value.shape, p.value.shape), tuple(range(p.value.ndim)))
        for n, p in one.items()
    ]
    path = folder / "a.mapping.json"
    write_mapping(path, links, one, one, ["scale"])
    path.write_bytes(structure_changed(path.read_bytes(), chance))
    with contextlib.suppress(InputError):
        for link in read_mapping(path, one, one, {}):
            link.to_second({n: p.value for n, p in one.items()}, one, one)
