"""A run's params survive being written down, and refuse what cannot be trained."""

import json
from dataclasses import fields

import pytest

from studio.errors import InvalidRequestError
from studio.training_params import CHOICES, RANGES, TrainingParams


def test_params_survive_json():
    params = TrainingParams(
        name="Striped teapot", method="hypernetwork", layer_structure=(1, 1.5, 1), sample_prompts=("a",)
    )
    assert TrainingParams.from_dict(json.loads(json.dumps(params.to_dict()))) == params


def test_every_rule_is_for_a_field_whose_default_keeps_it():
    known = {one.name for one in fields(TrainingParams)}
    assert CHOICES.keys() | RANGES.keys() <= known
    TrainingParams(name="x")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"learning_rate": "fast"}, "learning_rate"),
        ({"steps": 0}, "steps"),
        ({"steps": 10.5}, "steps"),
        ({"steps": True}, "steps"),
        ({"method": "magic"}, "method"),
        ({"name": "../evil"}, "name"),
        ({"name": ""}, "name"),
        ({"layer_structure": ["a"]}, "layer_structure"),
        ({"sample_prompts": "a cup"}, "sample_prompts"),
        ({"leraning_rate": 1e-4}, "leraning_rate"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_its_field(wrong, field):
    with pytest.raises(InvalidRequestError) as told:
        TrainingParams.from_dict({"name": "cup"} | wrong)
    assert told.value.field == field


def test_the_name_is_asked_for():
    with pytest.raises(InvalidRequestError, match="name"):
        TrainingParams.from_dict({})
