"""`twinplate convert` from the outside: both directions, what is written, and when nothing is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyro
import pytest
import torch
from verify_files import BOTH, WRONG, file, twinplate

from twinplate import Trained

pytestmark = pytest.mark.usefixtures("own_folder", "own_world")


@pytest.fixture
def saved():
    """What Pyro saved of `loc`, and of Adam after one step on a gradient of 1."""
    loc = pyro.param("loc", torch.tensor(0.4))
    optim = pyro.optim.Adam({"lr": 0.0})
    leaf = loc.unconstrained()
    leaf.grad = torch.ones(())
    optim([leaf])
    pyro.get_param_store().save("trained.pt")
    optim.save("optim.pt")


def words(to, params, *more):
    return ("convert", "port.py", "--to", to, "--params", params, "--out", "out.safetensors", *more)


def test_there_and_back(saved, capsys):
    file(BOTH)
    assert twinplate(*words("numpyro", "trained.pt", "--optimizer", "optim.pt")) == 0
    told = capsys.readouterr().out
    assert "Converted 1 parameter\n" in told and "Adam goes on for 1 parameter\n" in told
    assert "Loss of draw 0: " in told and "of it apart" in told
    there = Trained.load("out.safetensors")
    np.testing.assert_allclose(
        [there.params["loc"], there.mean["loc"], there.variance["loc"]], [0.4, 0.1, 1e-3]
    )
    link = json.loads(Path("out.mapping.json").read_text())["links"][0]
    assert (link["first"], link["second"], link["how"]) == ("loc", "loc", "equal names")

    Path("out.safetensors").rename("there.safetensors")
    edited = ("--mapping", "out.mapping.json")
    assert twinplate(*words("pyro", "there.safetensors", *edited)) == 0
    back = Trained.load("out.safetensors")
    assert back.params["loc"] == there.params["loc"] and back.steps == {"loc": 1}


def test_nothing_is_written_of_programs_that_differ(saved, capsys):
    file(WRONG)
    assert twinplate(*words("numpyro", "trained.pt")) == 1
    told = capsys.readouterr().out
    assert "log density of model site x" in told and "Nothing is written" in told
    assert not list(Path().glob("out.*"))


def test_bad_input(saved, capsys):
    file(BOTH)
    for given, message in (
        (words("jax", "trained.pt"), "to is 'jax'; expected pyro or numpyro"),
        (words("pyro", "trained.pt"), "none of the suffixes that are read for numpyro"),
        ((*words("numpyro", "trained.pt")[:-1], "out.npz"), "expected FILE.safetensors"),
        (words("numpyro", "optim.pt"), "optim.pt holds values of type dict"),
        (words("numpyro", "trained.pt", "--optimizer", "trained.pt"), "holds no state of Adam"),
        (words("numpyro", "trained.pt", "--mapping", "port.py"), "port.py is no JSON file"),
    ):
        assert twinplate(*given) == 2
        assert message in capsys.readouterr().err
