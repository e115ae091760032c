"""What a person should know before the start, as sentences."""

from studio.advice.defaults import FEW, row
from studio.advice.wish import Base, Pictures, Wish
from studio.advice.wording import written
from studio.advice.words import is_common
from studio.training_params import CONTROL_METHODS, TrainingParams

MANY, CONTROL_FEW = 2000, 1000
FAST = 10.0  # times the usual rate
LONG_PER_PICTURE = 400


def cautions(params: TrainingParams, wish: Wish, pictures: Pictures, base: Base) -> list[str]:
    """Warnings about the pictures, the words and the settings, in the order in which they matter."""
    rules = (_about_pictures, _about_words, _about_rates, _about_parts)
    return [line for rule in rules for line in rule(params, wish, pictures, base)]


def _about_pictures(params: TrainingParams, _wish: Wish, pictures: Pictures, _base: Base) -> list[str]:
    count, said = pictures.count, list(pictures.trouble)
    if params.method in CONTROL_METHODS and count < CONTROL_FEW:
        said.append(f"{count} pictures are few to learn a control from: a thousand and more are usual.")
    elif count == 1:
        said.append("One picture shows one side only: the result will repeat it. Three to five do far better.")
    elif count > MANY and params.method not in CONTROL_METHODS:
        said.append(f"{count} pictures are far more than one subject needs; a few good ones learn faster and better.")
    if params.masked and not pictures.masked:
        said.append("No picture has a mask, so everything in them counts.")
    return said


def _about_words(params: TrainingParams, wish: Wish, _pictures: Pictures, base: Base) -> list[str]:
    said = list[str]()
    if params.method in CONTROL_METHODS:
        return said
    if wish.trigger and params.method not in ("inversion", "pivotal") and is_common(params.trigger, base.known_words):
        said.append(
            f"{params.trigger} is a word that the model knows: what it means will change too. A made-up word is safer."
        )
    if params.method == "dreambooth" and not params.prior_preservation and wish.subject != "style":
        said.append(
            "Without prior preservation everything of that kind may come to look like yours."
            + ("" if params.class_word else " Say what it is, such as cup, to turn it on.")
        )
    if base.known_words and params.class_word and not is_common(params.class_word, base.known_words):
        said.append(f"{base.name} was never shown the word {params.class_word}: name a kind of thing that it knows.")
    return said


def _about_rates(params: TrainingParams, _wish: Wish, pictures: Pictures, base: Base) -> list[str]:
    said, usual = list[str](), row(params.method, base.family).values
    rate = float(usual.get("learning_rate", params.learning_rate))
    fits = usual.get("optimizer", "adamw") == params.optimizer
    if params.learning_rate == 0 and params.text_learning_rate == 0:
        said.append("The learning rate is 0: nothing will be learned.")
    elif params.optimizer == "prodigy" and params.learning_rate != 1.0:
        said.append(f"Prodigy expects a rate of 1; with {written(params.learning_rate)} it learns that much less.")
    elif params.optimizer != "prodigy" and fits and params.learning_rate > FAST * rate:
        said.append(
            f"A rate of {written(params.learning_rate)} is {params.learning_rate / rate:.0f} times the usual"
            f" {written(rate)}: the model will most likely break."
        )
    usual_steps = float(usual.get("steps", params.steps))
    if params.steps > max(FAST * usual_steps, LONG_PER_PICTURE * max(pictures.count, FEW)):
        said.append(f"{params.steps} steps are many for {pictures.count} pictures: watch for memorising.")
    return said


def _about_parts(params: TrainingParams, _wish: Wish, _pictures: Pictures, base: Base) -> list[str]:
    said = list[str]()
    if params.train_text_encoder and base.family == "sdxl":
        said.append("Training the text encoders of SDXL is advised against: it costs much and gains little.")
    if params.resolution != base.native_size:
        said.append(f"{base.name} was trained on {base.native_size} pixels, and this run uses {params.resolution}.")
    if params.rank > 128 and params.method in ("lora", "pivotal"):
        said.append(f"A rank of {params.rank} makes a large file and memorises soon.")
    return said
