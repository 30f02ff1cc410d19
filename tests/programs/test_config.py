"""The two configurations: what is valid, what follows from what, and what a refusal says."""

import json
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from twinplate.errors import InputError
from twinplate.programs.config import ProgramConfig, TrainingConfig

# Written out here, not taken from the code: guide -> (model, covariances), the default first.
VALID = {
    "diagonal": ("component", ["diagonal"]),
    "event": ("event", ["full", "diagonal", "low-rank"]),
    "auxiliary": ("component", ["full", "diagonal", "low-rank"]),
}


def refusal(cls, **values) -> str:
    with pytest.raises(InputError) as caught:
        cls(**values)
    return str(caught.value)


@pytest.mark.parametrize("guide", VALID)
def test_model_and_covariance_follow_from_the_guide(guide):
    model, covariances = VALID[guide]
    config = ProgramConfig(num_features=5, num_components=3, guide=guide)
    assert (config.model, config.covariance) == (model, covariances[0])


@pytest.mark.parametrize("guide", VALID)
@pytest.mark.parametrize("model", ["component", "event"])
@pytest.mark.parametrize("covariance", ["full", "diagonal", "low-rank"])
def test_every_pair_is_accepted_or_refused(guide, model, covariance):
    values = {"guide": guide, "model": model, "covariance": covariance}
    if model != VALID[guide][0]:
        message = refusal(ProgramConfig, num_features=5, num_components=3, **values)
        assert repr(model) in message and repr(guide) in message
        pairs = ("component × diagonal", "component × auxiliary", "event × event")
        assert all(pair in message for pair in pairs)
    elif covariance not in VALID[guide][1]:
        message = refusal(ProgramConfig, num_features=5, num_components=3, **values)
        assert f"{guide} guide" in message and repr(covariance) in message
        assert "expected 'diagonal'" in message and "'event' or 'auxiliary'" in message
    else:
        config = ProgramConfig(num_features=5, num_components=3, **values)
        assert values == {name: getattr(config, name) for name in values}


@pytest.mark.parametrize(
    ("values", "fragments"),
    [
        (
            {"guide": "mean-field"},
            ["guide", "'mean-field'", "'diagonal' or 'event' or 'auxiliary'"],
        ),
        (
            {"covariance": "banded"},
            ["covariance", "'banded'", "'full' or 'diagonal' or 'low-rank'"],
        ),
        ({"encoder": "cnn"}, ["encoder", "'cnn'", "'mlp' or 'experts'"]),
        ({"learned": "loadings"}, ["the string 'loadings'", "such as ('loadings',)"]),
        ({"model": "plated"}, ["'plated'", "'auxiliary'", "event × event"]),
        ({"num_features": 0}, ["num_features is 0", "1 or more"]),
        ({"num_components": -1}, ["num_components is -1", "1 or more"]),
        ({"hidden_width": 0}, ["hidden_width is 0", "1 or more"]),
        ({"num_components": 2.0}, ["num_components is 2.0", "whole number, 1 or more"]),
        ({"covariance": "low-rank", "rank": 2.0}, ["rank is 2.0", "1 to num_components = 3"]),
        ({"covariance": "low-rank", "rank": 0}, ["rank is 0", "1 to num_components = 3"]),
        ({"covariance": "low-rank", "rank": 4}, ["rank is 4", "1 to num_components = 3"]),
        ({"amplitude_scale": 0.0}, ["amplitude_scale is 0.0", "positive", "None"]),
        ({"amplitude_scale": -0.5}, ["amplitude_scale is -0.5", "positive", "None"]),
        ({"amplitude_scale": float("nan")}, ["amplitude_scale is nan", "positive"]),
    ],
)
def test_refused_programs(values, fragments):
    message = refusal(ProgramConfig, **{"num_features": 5, "num_components": 3, **values})
    assert all(fragment in message for fragment in fragments), message


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_rank_up_to_the_number_of_components(rank):
    assert ProgramConfig(5, 3, covariance="low-rank", rank=rank).rank == rank


def test_the_rank_of_another_covariance_is_not_looked_at():
    assert ProgramConfig(5, 1).covariance == "full"


def test_learned_parameters_have_one_order():
    config = ProgramConfig(5, 3, learned=("noise_scale", "loadings", "noise_scale"))
    assert config.learned == ("loadings", "noise_scale")
    assert config == ProgramConfig(5, 3, learned=("loadings", "noise_scale"))


@pytest.mark.parametrize("learned", [("loading",), "noise_scale", ("scale", "loadings")])
def test_an_unknown_name_among_the_learned_is_refused(learned):
    message = refusal(ProgramConfig, num_features=5, num_components=3, learned=learned)
    assert "learned" in message and "'loadings' or 'intercept' or 'noise_scale'" in message


PROGRAMS = [
    ProgramConfig(5, 3),
    ProgramConfig(7, 4, "event", covariance="low-rank", rank=3, learned=("intercept",)),
    ProgramConfig(2, 1, "diagonal", amplitude_scale=0.3, encoder="experts", hidden_width=9),
]


@pytest.mark.parametrize("config", PROGRAMS)
def test_a_program_goes_through_json(config):
    values = json.loads(json.dumps(config.as_dict()))
    assert values == config.as_dict()
    assert ProgramConfig.from_dict(values) == config


def test_the_plain_data_of_a_program():
    assert ProgramConfig(5, 3, learned=("noise_scale",), encoder="experts").as_dict() == {
        "num_features": 5,
        "num_components": 3,
        "guide": "auxiliary",
        "model": "component",
        "covariance": "full",
        "rank": 2,
        "learned": ["noise_scale"],
        "amplitude_scale": None,
        "encoder": "experts",
        "hidden_width": 128,
        "likelihood": "normal",
        "offset": "none",
    }


@pytest.mark.parametrize(
    ("values", "fragments"),
    [
        ({"steps": 0}, ["steps is 0", "1 or more"]),
        ({"batch_size": 0}, ["batch_size is 0", "1 or more"]),
        ({"particles": 0}, ["particles is 0", "1 or more"]),
        ({"seed": -1}, ["seed is -1", "0 or more"]),
        ({"seed": 0.5}, ["seed is 0.5", "whole number, 0 or more"]),
        ({"steps": 3.0}, ["steps is 3.0", "whole number, 1 or more"]),
        ({"batch_size": "8"}, ["batch_size is '8'", "whole number"]),
        ({"particles": None}, ["particles is None", "whole number"]),
        ({"learning_rate": "0.1"}, ["learning_rate is '0.1'", "positive"]),
        ({"learning_rate": 0.0}, ["learning_rate is 0.0", "positive"]),
        ({"learning_rate": -1e-3}, ["learning_rate is -0.001", "positive"]),
        ({"learning_rate": float("nan")}, ["learning_rate is nan", "positive"]),
        ({"objective": "iwae"}, ["objective", "'iwae'", "'elbo' or 'simulated' or 'pairs'"]),
        (
            {"particles": 2, "objective": "simulated"},
            ["particles is 2", "'simulated'", "expected 1"],
        ),
        ({"particles": 3, "objective": "pairs"}, ["particles is 3", "'pairs'", "expected 1"]),
        ({"precision": "float16"}, ["precision", "'float16'", "'float32' or 'float64'"]),
        ({"device": "cuda"}, ["device", "'cuda'", "'auto' or 'cpu' or 'gpu'"]),
    ],
)
def test_refused_training(values, fragments):
    message = refusal(TrainingConfig, **values)
    assert all(fragment in message for fragment in fragments), message


@pytest.mark.parametrize("objective", ["elbo", "simulated", "pairs"])
def test_one_particle_goes_with_every_objective_and_several_with_the_elbo(objective):
    assert TrainingConfig(particles=1, objective=objective).objective == objective
    assert TrainingConfig(particles=7).particles == 7


def test_a_batch_holds_at_most_all_items():
    TrainingConfig(batch_size=10).check_items(10)
    TrainingConfig(batch_size=1).check_items(1)
    with pytest.raises(InputError, match="batch_size is 10 but there are 9 items") as caught:
        TrainingConfig(batch_size=10).check_items(9)
    assert "1 to 9" in str(caught.value)


def test_training_goes_through_json():
    config = TrainingConfig(steps=7, learning_rate=3e-4, vectorize_particles=False, seed=2**40)
    values = json.loads(json.dumps(config.as_dict()))
    assert TrainingConfig(**values) == config


def test_numbers_of_numpy_become_plain_ones():
    config = TrainingConfig(steps=np.int64(7), seed=np.uint8(3))
    assert json.loads(json.dumps(config.as_dict())) == TrainingConfig(steps=7, seed=3).as_dict()


def test_configurations_are_frozen():
    for config in (ProgramConfig(5, 3), TrainingConfig()):
        with pytest.raises(FrozenInstanceError):
            config.seed = 1
