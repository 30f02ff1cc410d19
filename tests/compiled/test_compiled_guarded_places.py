"""Where a program may keep a number: in each place a change is seen before the next step."""

from __future__ import annotations

import argparse
import functools
import importlib
import itertools
import logging
import os
import pathlib
import random
import re
import sys
import threading
import types
from collections import Counter, deque
from dataclasses import dataclass

import pyro
import pytest
import torch
from compiled_cases import CASES
from compiled_runs import assert_eager_equals, assert_replayed_equals, losses, model_with, steps_of
from pyro.infer import SVI, Trace_ELBO
from torch import nn

from pyro_impl import CompiledSVI
from pyro_impl.compiled import guards

pytestmark = pytest.mark.usefixtures("own_world")


@dataclass(slots=True)
class Slots:
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Frozen:
    scale: float = 1.0


class Mixed(dict):
    """A dictionary with attributes."""


class Shadowed:
    scale = 1.0


class Layer(nn.Module):
    scale = 1.0

    def forward(self, x):
        return x * self.scale


def with_attribute(*_):
    return with_attribute.scale


def attribute(owner):
    """The density reads `owner.scale`, which is set to 2 in step 3."""
    return lambda *_: owner.scale, lambda i: setattr(owner, "scale", 1.0 if i < 3 else 2.0)


def appearing(owner):
    """As `attribute`, but the class has the first value and the object gets one of its own."""
    return lambda *_: owner.scale, lambda i: setattr(owner, "scale", 2.0) if i == 3 else None


def in_containers():
    members = {1.0}
    queue = deque([0.0, 1.0], maxlen=2)
    pair = (torch.tensor(1.0), torch.tensor(0.0))
    owner = types.SimpleNamespace(pair=pair)

    def in_set(i):
        members.clear()
        members.add(1.0 if i < 3 else 2.0)

    def in_tuple(i):
        owner.pair = (torch.tensor(1.0 if i < 3 else 2.0), pair[1]) if i in (0, 3) else owner.pair

    def same_in_another_tuple(i):
        owner.pair = (pair[0], pair[1])

    in_queue = lambda i: queue.append(1.0 if i < 3 else 2.0)
    return {
        "set": (lambda *_: sum(members), in_set),
        "deque": (lambda *_: queue[-1], in_queue),
        "tuple of tensors": (lambda *_: owner.pair[0] + owner.pair[1], in_tuple),
        "equal tuples": (lambda *_: owner.pair[0] + owner.pair[1], same_in_another_tuple),
    }


def in_modules():
    torch.manual_seed(0)
    network, layer = nn.Sequential(nn.Linear(3, 3)), Layer()

    def hook(i):
        if i == 3:
            network[0].register_forward_hook(lambda module, args, output: 2 * output)

    def before(i):
        if i == 3:
            network[0].register_forward_pre_hook(lambda module, args: (2 * args[0],))

    def appended(i):
        if i == 3:
            network.append(nn.Softplus())

    density = lambda slope, x: 1.0 + network(x).square().sum(-1)
    return {
        "forward hook": (density, hook),
        "forward pre-hook": (density, before),
        "another layer": (density, appended),
        "layer's own attribute": (
            lambda slope, x: 2.0 + layer(x[:, 0]),
            appearing(layer)[1],
        ),
    }


def cached():
    settings = {"scale": 1.0}

    @functools.lru_cache
    def scale(*args):
        return settings["scale"]

    def change(i):
        settings["scale"] = 1.0 if i < 3 else 2.0
        scale.cache_clear()

    return lambda *_: scale(), change


def changing_places():
    """(density, change(i)): from step 3 on the density is another one."""
    frozen = Frozen()
    return {
        "Namespace": attribute(argparse.Namespace()),
        "SimpleNamespace": attribute(types.SimpleNamespace()),
        "slots": attribute(Slots()),
        "frozen slots": (
            lambda *_: frozen.scale,
            lambda i: object.__setattr__(frozen, "scale", 1.0 if i < 3 else 2.0),
        ),
        "attribute of a dictionary": attribute(Mixed()),
        "attribute that hides the class's": appearing(Shadowed()),
        "attribute of a function": (with_attribute, attribute(with_attribute)[1]),
        "behind lru_cache": cached(),
        **in_containers(),
        **in_modules(),
    }


@pytest.mark.parametrize("name", changing_places())
def test_what_changes_between_steps_is_captured_again(name):
    density, change = changing_places()[name]
    expected, _ = losses(SVI, model_with(density), each=change, steps=12)
    density, change = changing_places()[name]
    found, svi = losses(CompiledSVI, model_with(density), each=change, steps=12)
    assert found == expected
    assert len(steps_of(svi)) == 1 and not svi._eager


def test_an_equal_tuple_of_the_same_tensors_needs_no_other_graph():
    density, change = changing_places()["equal tuples"]
    svi = assert_replayed_equals(model_with(density), 1, each=change, steps=12)
    assert svi._changes == 0


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """`installed(**files)` imports these modules of a package that lies among the installed ones."""
    folder = tmp_path / "site-packages"

    def make(**files):
        (folder / "installed_program").mkdir(parents=True)
        for name, text in files.items():
            (folder / "installed_program" / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        modules = [importlib.import_module(f"installed_program.{name}") for name in files]
        return modules[1:]

    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr("twinplate.user_code.OF_PACKAGES", (f"{folder}{os.sep}",))
    yield make
    for name in [n for n in sys.modules if n.split(".")[0] == "installed_program"]:
        del sys.modules[name]


MODEL = """
import pyro, torch
import pyro.distributions as dist
{imported}

class Settings:
    scale = 1.0

settings = Settings()

def model(x, y):
    {inside}
    slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
    with pyro.plate("items", len(x)):
        pyro.sample("y", dist.Normal(slope * x[:, 0], {scale}), obs=y)
"""


@pytest.mark.parametrize(
    ("imported", "inside", "scale"),
    [
        ("", "", "settings.scale"),
        ("import installed_program", "", "installed_program.config.scale"),
        ("import installed_program.config as c", "", "c.scale"),
        ("", "import installed_program.config as c", "c.scale"),
        ("", "from installed_program.config import scale", "scale"),
        ("", "from .config import scale", "scale"),
        ("", "from . import config", "config.scale"),
    ],
)
def test_a_module_in_an_installed_package_of_the_users_own(installed, imported, inside, scale):
    text = MODEL.format(imported=imported, inside=inside, scale=scale)
    config, program = installed(__init__="", config="scale = 1.0\n", program=text)
    owner = program.settings if scale.startswith("settings") else config
    assert_replayed_equals(program.model, 1, each=attribute(owner)[1], steps=12)


# --- what is no change --------------------------------------------------------------------------


class Experiment:
    """What a program's object holds besides."""

    def __init__(self):
        self.log = logging.getLogger(__name__)
        self.path, self.pattern = pathlib.Path(__file__), re.compile("y+")
        self.arguments = argparse.Namespace(scale=1.0, device=torch.device("cpu"))
        self.lock, self.random = threading.Lock(), random.Random(0)

    @functools.cached_property
    def scale(self):
        return self.arguments.scale

    def __call__(self, slope, x):
        self.log.debug("%s", self.path)
        if self.pattern.match(str(self.path)) is not None:
            raise AssertionError
        with self.lock:
            return torch.ones((), device=self.arguments.device) * self.scale


def test_an_object_with_a_logger_paths_and_locks_is_captured_once():
    experiment = Experiment()

    def each(i):
        experiment.random.random()
        logging.getLogger(f"{__name__}.{i}")
        experiment.arguments.device = torch.device("cpu")

    svi = assert_replayed_equals(model_with(experiment), 1, each=each, steps=12)
    assert svi._changes == 0


@pytest.mark.parametrize("name", CASES)
def test_each_case_is_captured_once(name):
    pyro.set_rng_seed(7)
    model, guide, batches = CASES[name]()
    svi = CompiledSVI(model, guide, pyro.optim.Adam({"lr": 0.02}), Trace_ELBO())
    taken = [batches[i % len(batches)] for i in range(8)]
    for batch in taken:
        svi.step(*batch)
    sizes = Counter(len(y) for _, y in taken)
    assert svi._changes == 0 and not svi._eager
    assert sum(step.taken for step in steps_of(svi)) == sum(max(n - 2, 0) for n in sizes.values())


# --- what cannot be watched -----------------------------------------------------------------------


class Counting:
    runs = 0

    def __call__(self, slope, x):
        Counting.runs += 1
        return 1.0 + 0.1 * Counting.runs


def test_a_counter_of_a_class_runs_eagerly():
    restart = lambda: setattr(Counting, "runs", 0)
    assert_eager_equals(model_with(Counting()), "changes `Counting.runs` as it runs", restart)


def test_a_counter_in_slots_runs_eagerly():
    held = Slots()

    def density(slope, x):
        held.scale += 0.1
        return held.scale

    restart = lambda: setattr(held, "scale", 1.0)
    assert_eager_equals(model_with(density), "changes `Slots.scale` as it runs", restart)


def test_a_counter_of_itertools_runs_eagerly():
    counter = itertools.count()

    def restart():
        nonlocal counter
        counter = itertools.count()

    density = lambda *_: 1.0 + 0.1 * next(counter)
    reason = "`counter` in the closure of .* counts on with every run"
    assert_eager_equals(model_with(density), reason, restart)


def test_more_than_can_be_watched_runs_eagerly(monkeypatch):
    held = [Slots() for _ in range(50)]

    def each(i):
        held[-1].scale = 1.0 if i < 3 else 2.0

    density = lambda *_: held[-1].scale
    assert_replayed_equals(model_with(density), 1, each=each, steps=12)
    monkeypatch.setattr(guards, "MOST", 50)
    assert_eager_equals(model_with(density), "reads more than 50", each=each, steps=12)


def test_a_long_list_of_numbers_hides_nothing():
    numbers, settings = [float(i) for i in range(30_000)], Slots()
    density = lambda *_: settings.scale + 0.0 * numbers[0]
    change = attribute(settings)[1]
    assert_replayed_equals(model_with(density), 1, each=change, steps=12)
    last = lambda i: numbers.__setitem__(-1, 1.0 if i < 3 else 2.0)
    assert_replayed_equals(model_with(lambda *_: numbers[-1]), 1, each=last, steps=12)
