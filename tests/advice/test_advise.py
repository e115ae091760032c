import math

import pytest

from studio.advice.advise import advise
from studio.advice.defaults import TABLE, row
from studio.advice.methods import BY_NAME
from studio.advice.wish import FAMILIES, Base, Pictures, Wish
from studio.errors import InvalidRequestError
from studio.training_params import METHODS

BASES = {family: Base(name=family, base=family, native_size=512) for family in FAMILIES}
FIVE = Pictures(name="mug", count=5)


def wish(**more):
    return Wish.from_dict({"name": "green mug", "dataset": "mug", "class_word": "cup", **more})


def advised(base="sd1", pictures=FIVE, **more):
    return advise(wish(**more), pictures, BASES[base])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("base", FAMILIES)
def test_every_method_has_a_whole_run_with_reasons_and_sources_on_every_family(method, base):
    advice = advised(base, method=method)
    assert (advice.params.method, advice.params.base, advice.params.steps) == (
        method,
        base,
        row(method, base).values["steps"],
    )
    fields = [reason.field for reason in advice.reasons]
    assert len(fields) == len(set(fields))
    assert "learning_rate" in fields
    assert all(
        reason.text and (reason.source or reason.field in ("method", *advice.params.to_dict()))
        for reason in advice.reasons
    )
    assert all(
        getattr(advice.params, reason.field) == reason.value
        for reason in advice.reasons
        if reason.field != "sample_prompts"
    )


def test_every_row_can_be_a_run_and_every_method_is_told_in_words():
    assert {method for method, _ in TABLE} == set(METHODS) == set(BY_NAME)
    assert all(found.source for found in TABLE.values())


def test_without_a_method_one_is_chosen_for_a_reason():
    advice = advised()
    assert advice.params.method == "lora"
    assert advice.reasons[0].field == "method"
    assert advice.reasons[0].source
    assert advice.methods[0]["name"] == "lora"


def test_more_pictures_take_more_steps_by_their_root():
    few, many = advised(), advised(pictures=Pictures(name="mug", count=45))
    assert many.params.steps == 3 * few.params.steps
    assert advised(pictures=Pictures(name="mug", count=5000)).params.steps == 5 * few.params.steps


def test_what_a_person_sets_wins_and_what_belongs_to_it_follows():
    params = advised(settings={"optimizer": "prodigy"}).params
    assert params.learning_rate == 1.0
    assert advised(settings={"optimizer": "prodigy", "learning_rate": 0.5}).params.learning_rate == 0.5
    assert advised("sdxl", method="pivotal", settings={"optimizer": "adamw"}).params.learning_rate == 1e-4
    lion = advised(settings={"optimizer": "lion"}).params
    assert (lion.learning_rate, lion.weight_decay) == (pytest.approx(2e-5), pytest.approx(0.05))
    assert advised(method="pivotal", settings={"optimizer": "prodigy"}).params.text_learning_rate == 1.0
    assert advised(settings={"rank": 4}).params.alpha == 4.0
    assert advised(settings={"alpha": 1.0}).params.learning_rate == pytest.approx(1e-3)
    assert advised(settings={"alpha": 8.0}).params.learning_rate == pytest.approx(2e-4)
    assert advised(settings={"rslora": True}).params.learning_rate == pytest.approx(1e-4 / math.sqrt(16))
    assert advised(settings={"steps": 80}).params.save_every == 20
    assert advised(settings={"train_text_encoder": True}).params.text_learning_rate == pytest.approx(1e-5)
    assert advised(method="controlnet", settings={"unlocked_decoder": True}).params.learning_rate == 2e-6


def test_prior_preservation_needs_a_class():
    assert advised(method="dreambooth").params.class_prompt == "a cup"
    bare = advised(method="dreambooth", class_word="")
    assert not bare.params.prior_preservation
    assert any("prior preservation" in line for line in bare.warnings)
    with pytest.raises(InvalidRequestError) as refused:
        advised(method="dreambooth", class_word="", settings={"prior_preservation": True})
    assert refused.value.field == "class_word"


def test_the_trigger_is_a_word_that_the_model_does_not_know():
    assert advised().params.trigger == "greenmug"
    assert advised(name="mug").params.trigger == "ohwx"
    assert advised("starter").params.trigger == "sks"
    assert advised(method="inversion").params.trigger == "green-mug"
    assert any("mug is a word that the model knows" in line for line in advised(trigger="mug").warnings)


@pytest.mark.parametrize(
    ("more", "pictures", "said"),
    [
        ({}, Pictures(name="mug", count=1), "One picture"),
        ({}, Pictures(name="mug", count=5000), "far more than one subject needs"),
        ({}, Pictures(name="mug", count=5, trouble=("All pictures are the same.",)), "All pictures are the same."),
        ({"settings": {"learning_rate": 1.0}}, FIVE, "will most likely break"),
        ({"settings": {"learning_rate": 0}}, FIVE, "nothing will be learned"),
        ({"settings": {"steps": 90000}}, FIVE, "many for 5 pictures"),
        ({"settings": {"masked": True}}, FIVE, "No picture has a mask"),
        ({"settings": {"resolution": 256}}, FIVE, "trained on 512 pixels"),
        ({"settings": {"optimizer": "prodigy", "learning_rate": 1e-4}}, FIVE, "expects a rate of 1"),
        ({"method": "controlnet"}, FIVE, "few to learn a control from"),
    ],
)
def test_what_is_odd_is_told_before_the_start(more, pictures, said):
    assert any(said in line for line in advised(pictures=pictures, **more).warnings)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "../up"}, "name"),
        ({"dataset": ""}, "dataset"),
        ({"subject": "house"}, "subject"),
        ({"method": "magic"}, "method"),
        ({"shine": 3}, "shine"),
        ({"settings": 3}, "settings"),
        ({"settings": {"shine": 3}}, "shine"),
        ({"settings": {"method": "lora"}}, "method"),
        ({"settings": {"steps": 0}}, "steps"),
        ({"settings": {"steps": "many"}}, "steps"),
        ({"settings": {"learning_rate": float("nan")}}, "learning_rate"),
        ({"settings": {"alpha": "x"}}, "alpha"),
        ({"yield_to_pictures": "no"}, "yield_to_pictures"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(more, field):
    with pytest.raises(InvalidRequestError) as refused:
        advised(**more)
    assert refused.value.field == field


def test_no_pictures_and_models_of_other_kinds_are_refused():
    with pytest.raises(InvalidRequestError, match="no pictures") as refused:
        advised(pictures=Pictures(name="mug", count=0))
    assert refused.value.field == "dataset"
    with pytest.raises(InvalidRequestError, match="cannot be trained here") as refused:
        advise(wish(), FIVE, Base(name="refiner", base="sdxl-refiner"))
    assert refused.value.field == "checkpoint"


def test_what_was_advised_reads_as_the_field_shows_it():
    said = {reason.field: reason.text for reason in advised(settings={"alpha": 4.0, "learning_rate": 5e-5}).reasons}
    assert said["alpha"] == "You chose it; 16 was advised."
    assert said["learning_rate"] == "You chose it; 0.0001 was advised."
    (warned,) = (line for line in advised(settings={"learning_rate": 0.05}).warnings if "A rate of" in line)
    assert "0.05 is 500 times the usual 0.0001" in warned
