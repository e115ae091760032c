"""What a run is asked at each measurement: the same few prompts with the same seeds, in scenes of which it saw none."""

from dataclasses import dataclass
from typing import Self

from studio.training_params import TrainingParams

SEED = 7_000_000
# Words that real checkpoints and the starter both know.
PLACES = ("in the snow", "by the sea", "at sunset", "in the desert", "at night", "on the grass")
SCENES = ("red house in the snow", "green tree at sunset", "yellow boat by the sea", "blue car in the desert")
CLASSES = ("blue {} in the desert", "red {} in the snow", "{} at night", "{} by the sea")


@dataclass(frozen=True)
class Questions:
    """Prompts.

    Fields:
        subject: With the trigger, of what is learned.
        plain: What else should be in those pictures: the prompts without the subject.
        kind: Of the same kind of thing, but not of this one: they should stay as the base model has them.
        seed: Of the first picture of each row; the next has the next.
    """

    subject: tuple[str, ...]
    plain: tuple[str, ...]
    kind: tuple[str, ...]
    seed: int = SEED

    @classmethod
    def of(cls, params: TrainingParams) -> Self:
        """The questions for a run's name and kind of thing."""
        if params.subject == "style":
            subject = tuple(_called(params, scene) for scene in SCENES)
            plain = tuple(f"a {scene}" for scene in SCENES)
            return cls(subject, plain, plain)
        thing = params.class_word or "thing"
        named = _called(params, params.class_word)
        return cls(
            tuple(f"{named} {place}" for place in PLACES),
            PLACES,
            tuple("a " + scene.format(thing) for scene in CLASSES),
        )


def _called(params: TrainingParams, thing: str) -> str:
    """The run's caption for a thing of that kind."""
    told = params.prompt_template.replace("{trigger}", params.trigger).replace("{class}", thing)
    return " ".join(told.split())
