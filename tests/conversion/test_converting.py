"""Parameters of one program as those of another, in one framework; what is refused."""

from __future__ import annotations

import json

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import constraints
from pyro.nn import PyroModule, PyroParam
from torch import nn

import pyro_impl
from pyro_impl import Program
from twinplate import Case, ConversionError, InputError, Trained, convert
from twinplate.conversion.files import read_trained

rng = np.random.default_rng(5)
X = rng.normal(size=(4, 3))
WEIGHT, SCALE = rng.normal(size=(2, 3)), rng.uniform(0.5, 2.0, 2)


def model(x):
    """Weights (out, in), as torch has them."""
    weight = pyro.param("weight", torch.ones(2, 3))
    scale = pyro.param("scale", torch.ones(2), constraint=constraints.positive)
    pyro.sample("z", dist.Normal(x @ weight.mT, scale).to_event(2))


def ported(x):
    """Weights (in, out), as flax has them; the scale by softplus."""
    kernel = pyro.param("kernel", torch.ones(3, 2))
    scale = pyro.param("scale", torch.ones(2), constraint=constraints.softplus_positive)
    pyro.sample("z", dist.Normal(x @ kernel, scale).to_event(2))


def wrong(x):
    kernel = pyro.param("kernel", torch.ones(3, 2))
    scale = pyro.param("scale", torch.ones(2), constraint=constraints.positive)
    pyro.sample("z", dist.Normal(x @ kernel, scale.square()).to_event(2))


def turned(values):
    return values.T


def halved(values):
    return values / 2


def case_of(second=ported, entry=("kernel", turned, turned)):
    return Case(Program(model), Program(second), args=(X,), rename={"weight": entry})


GIVEN = {"weight": WEIGHT, "scale": SCALE}


def test_a_layout_of_rename_is_used_both_ways():
    there = convert(case_of(), GIVEN)
    np.testing.assert_array_equal(there.trained.params["kernel"], WEIGHT.T)
    assert (there.links[0].axes, there.links[0].how) == ((1, 0), "rename")
    back = convert(case_of(), there.trained, to="first")
    assert {n: x.tolist() for n, x in back.trained.params.items()} == {
        n: x.tolist() for n, x in GIVEN.items()
    }
    ((first, second),) = there.losses.values()
    z = there.report.first.given["0"].draws["z"][0]
    expected = 0.5 * (((z - X @ WEIGHT.T) / SCALE) ** 2 + np.log(2 * np.pi * SCALE**2)).sum()
    np.testing.assert_allclose([first, second], expected, rtol=1e-12)


def test_a_function_that_computes_stays_with_the_case(tmp_path):
    def doubled(x):
        half = pyro.param("half", torch.ones(2, 3))
        scale = pyro.param("scale", torch.ones(2), constraint=constraints.positive)
        pyro.sample("z", dist.Normal(x @ (2 * half).mT, scale).to_event(2))

    case = case_of(doubled, ("half", halved, lambda values: 2 * values))
    there = convert(case, GIVEN)
    np.testing.assert_array_equal(there.trained.params["half"], WEIGHT / 2)
    mapping = there.save(tmp_path / "there.safetensors")
    again = convert(case, there.trained, to="first", mapping=mapping)
    np.testing.assert_array_equal(again.trained.params["weight"], WEIGHT)


def test_the_mapping_can_be_edited(tmp_path):
    """Without rename nothing says which is which: the file does."""
    bare = Case(Program(model), Program(ported), args=(X,))
    with pytest.raises(InputError, match=r"without a partner: weight.*rename=\{"):
        convert(bare, GIVEN)
    path = convert(case_of(), GIVEN).save(tmp_path / "there.safetensors")
    there = convert(bare, GIVEN, mapping=path)
    np.testing.assert_array_equal(there.trained.params["kernel"], WEIGHT.T)
    # What the file says is not sought: only that both have maps of their own to a scale is told.
    assert {f.site for f in there.report.findings if f.level == "difference"} == {"scale"}

    described = json.loads(path.read_text())
    described["links"][0]["axes"] = [0, 1]  # (2, 3) read as (3, 2), row by row
    path.write_text(json.dumps(described))
    with pytest.raises(ConversionError, match="log density of model site z"):
        convert(bare, GIVEN, mapping=path)
    for key, value, message in (
        ("axes", [0, 0], r"link 1: axes is \[0, 0\]; expected each number from 0 to 1 once"),
        ("second", "kern", r"link 1: second is 'kern'; expected parameters of the second program"),
        ("second", "scale", r"more than one: scale"),
        ("packing", "loc", r"link 1: order is None"),
        ("colour", "red", r"link 1: expected an object with axes, first, second"),
    ):
        edited = json.loads(json.dumps(described))
        edited["links"][0] |= {"axes": [1, 0], key: value}
        if value == "scale":
            edited["links"][0] |= {"first": "scale", "axes": [0]}
        path.write_text(json.dumps(edited))
        with pytest.raises(InputError, match=message):
            convert(bare, GIVEN, mapping=path)


def test_where_the_programs_differ_nothing_is_converted():
    with pytest.raises(ConversionError, match="log density of model site z") as told:
        convert(case_of(wrong), GIVEN)
    assert told.value.report.verdict == "differs"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"weight": WEIGHT}, "no values are given for scale"),
        (
            {**GIVEN, "loc": SCALE},
            "'loc' is none of the program's parameters; it has weight, scale",
        ),
        ({**GIVEN, "weight": WEIGHT.T}, r"'weight' is given shape \(3, 2\); expected \(2, 3\)"),
        ({**GIVEN, "scale": -SCALE}, "'scale' is not in its constraint, positive"),
        ({**GIVEN, "scale": SCALE * np.nan}, "'scale' holds numbers that are not finite"),
        (3.0, "params are of type float; expected pyro.get_param_store"),
    ],
)
def test_parameters_that_do_not_fit(given, message):
    with pytest.raises(InputError, match=message):
        convert(case_of(), given)


def test_which_program_is_meant():
    with pytest.raises(
        InputError, match="to is 'pyro'; expected pyro or numpyro where one program"
    ):
        convert(case_of(), GIVEN, to="pyro")


def moments(names):
    of = {name: GIVEN[name] for name in names}
    squares = {n: x**2 for n, x in of.items()}
    return Trained(GIVEN, of, squares, dict.fromkeys(of, 7))


def test_moments_move_with_their_numbers_and_start_anew_where_the_maps_differ():
    there = convert(case_of(), moments(GIVEN))
    assert there.reset == ("scale",)  # exp there, softplus here
    np.testing.assert_array_equal(there.trained.mean["kernel"], WEIGHT.T)
    np.testing.assert_array_equal(there.trained.variance["kernel"], WEIGHT.T**2)
    assert there.trained.steps == {"kernel": 7}


@pytest.mark.parametrize(
    ("moments", "message"),
    [
        ({"weight": WEIGHT.T}, r"of 'weight' have shape \(3, 2\); expected \(2, 3\)"),
        ({"loc": SCALE}, "of 'loc' have shape .*expected no such parameter"),
        ({"scale": SCALE * np.inf}, "of 'scale' are not finite"),
    ],
)
def test_moments_that_do_not_fit(moments, message):
    with pytest.raises(InputError, match=message):
        convert(case_of(), Trained(GIVEN, moments, moments, dict.fromkeys(moments, 1)))


class Net(PyroModule):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.scale = PyroParam(torch.tensor([0.5, 2.0]), constraint=constraints.positive)

    def forward(self, x):
        pyro.sample("z", dist.Normal(self.layer(x), self.scale).to_event(2))


def test_a_state_dict_has_its_names_completed(tmp_path, own_world):
    net = Net()
    case = Case(Program.build(Net), Program.build(Net), args=(X,))
    torch.save(net.state_dict(), tmp_path / "net.pt")
    there = convert(case, read_trained(tmp_path / "net.pt", "pyro")).trained
    np.testing.assert_allclose(there.params["scale"], [0.5, 2.0], rtol=1e-12)
    np.testing.assert_array_equal(there.params["layer$$$weight"], net.layer.weight.detach())


def test_restore_and_go_on_is_the_same_as_never_to_stop(own_world):
    """In Pyro itself; ClippedAdam's rate decays by the step."""

    def begin():
        pyro.clear_param_store()
        optim = pyro.optim.ClippedAdam({"lr": 0.1, "lrd": 0.9})
        svi = pyro.infer.SVI(observed, lambda x: None, optim, pyro.infer.Trace_ELBO())
        return svi, optim

    x = torch.as_tensor(X)
    svi, optim = begin()
    for _ in range(3):
        svi.step(x)
    taken = pyro_impl.trained(optim)
    expected = [svi.step(x) for _ in range(3)]
    svi, optim = begin()
    with pytest.raises(InputError, match=r"no 'loc'.*it has none\. Run the guide"):
        pyro_impl.restore(taken, optim)
    svi.evaluate_loss(x)
    for _ in range(2):  # into an optimiser that is new, and into one that has taken steps
        pyro_impl.restore(taken, optim)
        assert [svi.step(x) for _ in range(3)] == pytest.approx(expected, rel=1e-14)


def observed(x):
    loc = pyro.param("loc", torch.zeros(3))
    scale = pyro.param("scale", torch.ones(3), constraint=constraints.positive)
    pyro.sample("x", dist.Normal(loc, scale).expand([4, 3]).to_event(2), obs=x)


def test_compiled_steps_go_on_from_what_is_restored(own_world):
    """They were recorded on the optimiser's own tensors."""
    optim = pyro.optim.Adam({"lr": 0.1})
    svi = pyro_impl.CompiledSVI(observed, lambda x: None, optim, pyro.infer.Trace_ELBO())
    x = torch.as_tensor(X)
    for _ in range(4):
        svi.step(x)
    taken = pyro_impl.trained(optim)
    expected = [svi.step(x) for _ in range(6)]
    pyro_impl.restore(taken, optim)
    assert [svi.step(x) for _ in range(6)] == pytest.approx(expected, rel=1e-12)
