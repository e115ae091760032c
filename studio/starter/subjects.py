"""What the trainer is examined with: three things and a style that the pack never saw, drawn for five pictures each.

A subject is one instance: the same colour and shape in every picture. The pictures to learn from stand before five
backgrounds; the exam asks for the others, and for places and sizes, with the true render of each scene beside.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from studio.starter.captions import caption
from studio.starter.render import Bytes, render
from studio.starter.spec import BACKGROUNDS, COLORS, KINDS, PLAIN_COLORS, Spec, Thing, sample_spec

TRIGGER, PICTURES = "sks", 5
SIDES, SIZES = ("left", "right", "middle", ""), ("big", "small", "")
INK, SURROUND = (44, 30, 56), (60, 20, 80)
RIM = (0.86, 1.1)  # where the porthole begins to close and is closed, in halves of the side


@dataclass(frozen=True)
class Subject:
    """One that is learned.

    Fields:
        kind, color: What is drawn; "" and "" for a style.
        class_word: What of the pack's kinds it is said to be, as a person says "cup" of theirs; "" for a style.
        template: The caption of a picture without one, as TrainingParams.prompt_template.
    """

    name: str
    kind: str = ""
    color: str = ""
    class_word: str = ""
    template: str = "a {trigger} {class}"

    @property
    def sort(self) -> str:
        """Of training_params.SUBJECTS."""
        return "object" if self.kind else "style"


SUBJECTS = (
    Subject("teapot", "teapot", "red", "mushroom"),
    Subject("rocket", "rocket", "purple", "boat"),
    Subject("umbrella", "umbrella", "pink", "balloon"),
    Subject("porthole", template="a {trigger} picture of {class}"),
)


@dataclass(frozen=True)
class Shown:
    """A true picture, (128, 128, 3), and what is said of it: prompt with the trigger, plain without.

    spec: What a judge should find; of an object's picture without the object, which no judge knows.
    """

    image: Bytes
    prompt: str
    plain: str
    spec: Spec


def lessons(subject: Subject, seed: int = 0) -> list[Shown]:
    """The five pictures to learn from. Another seed draws others; the same seed the same bytes."""
    rng = random.Random(f"{subject.name} lessons {seed}")
    if not subject.kind:
        return [_styled(sample_spec(rng), rng) for _ in range(PICTURES)]
    spots = [Spec(place, _plain(subject, place, rng), ()) for place in _places(subject, seed)[:PICTURES]]
    return [_object(subject, replace(spot, side=rng.choice(SIDES)), rng) for spot in spots]


def exam(subject: Subject, count: int, seed: int = 0) -> list[Shown]:
    """Questions in scenes that `lessons` of the same seed do not have, and their true renders."""
    rng = random.Random(f"{subject.name} exam {seed}")
    if not subject.kind:
        return [_styled(sample_spec(rng), rng) for _ in range(count)]
    others = _places(subject, seed)[PICTURES:]
    spots = [Spec(place, _plain(subject, place, rng), ()) for place in (others[i % len(others)] for i in range(count))]
    return [_object(subject, replace(spot, size=rng.choice(SIZES), side=rng.choice(SIDES)), rng) for spot in spots]


def kinds(subject: Subject, count: int, seed: int = 0) -> list[Shown]:
    """Questions without the trigger that should stay as the base model answers them: "a blue cup" is a cup.

    For an object of the kind that it is said to be, in any colour; for a style of everything.
    """
    rng = random.Random(f"{subject.name} kinds {seed}")
    known = (subject.class_word,) if subject.kind else KINDS
    specs = [sample_spec(rng, known) for _ in range(count)]
    if subject.kind:
        specs = [replace(spec, things=spec.things[:1]) for spec in specs]
    made = [(spec, caption(spec, rng, complete=True)) for spec in specs]
    return [Shown(render(spec, rng).image, text, text, spec) for spec, text in made]


def porthole(image: Bytes, segments: Bytes) -> Bytes:
    """The held-out style: things outlined in ink, seen through a round window in a dark wall.

    image: (s, s, 3); segments: (s, s), things above 2.
    """
    things = (segments > 2).astype(np.uint8)
    drawn = np.where((cv2.dilate(things, np.ones((5, 5), np.uint8)) > things)[..., None], np.array(INK), image)
    side = len(image)
    y, x = (np.mgrid[:side, :side] + 0.5) / (side / 2) - 1
    closed = np.clip((np.hypot(x, y) - RIM[0]) / (RIM[1] - RIM[0]), 0, 1)[..., None]
    closed = closed * closed * (3 - 2 * closed)
    return (drawn * (1 - closed) + np.array(SURROUND) * closed).astype(np.uint8)


def write_subjects(folder: Path, seed: int = 0, subjects: Sequence[Subject] = SUBJECTS) -> list[Path]:
    """Write the pictures of each subject, with their captions beside, into folder/NAME; gives these folders."""
    for subject in subjects:
        (folder / subject.name).mkdir(parents=True, exist_ok=True)
        for number, shown in enumerate(lessons(subject, seed), 1):
            file = folder / subject.name / f"{subject.name}-{number}.png"
            Image.fromarray(shown.image).save(file)
            file.with_suffix(".txt").write_text(shown.prompt + "\n", encoding="utf-8")
    return [folder / subject.name for subject in subjects]


def _places(subject: Subject, seed: int) -> list[str]:
    """The backgrounds in the order of this seed: the first five are learned from, the others are asked."""
    places = list(BACKGROUNDS)
    random.Random(f"{subject.name} places {seed}").shuffle(places)
    return places


def _plain(subject: Subject, place: str, rng: random.Random) -> str:
    return rng.choice([color for color in PLAIN_COLORS if color != subject.color]) if place == "plain" else ""


def _object(subject: Subject, spot: Spec, rng: random.Random) -> Shown:
    """The subject at a spot. Its caption is that of its kind in a colour, the trigger in place of the colour."""
    named = next(color for color in COLORS if color not in (spot.plain, "orange"))  # which "a" fits
    told = caption(replace(spot, things=(Thing(subject.class_word, named),)), rng, complete=True)
    words = f"{named} {subject.class_word}"
    image = render(replace(spot, things=(Thing(subject.kind, subject.color),)), rng).image
    trigger = told.replace(words, f"{TRIGGER} {subject.class_word}")
    return Shown(image, trigger, told.replace(words, subject.class_word), spot)


def _styled(spec: Spec, rng: random.Random) -> Shown:
    told = caption(spec, rng, complete=True)
    for opening in ("a picture of ", "an illustration of ", "a drawing of "):
        told = told.removeprefix(opening)
    scene = render(spec, rng)
    return Shown(porthole(scene.image, scene.segments), f"a {TRIGGER} picture of {told}", told, spec)
