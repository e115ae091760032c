"""The pictures of a dataset as a run sees them: what can be used, what each is called, and which are held out."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from studio.datasets.buckets import Size
from studio.datasets.captions import read_caption
from studio.datasets.doctor import has_word
from studio.datasets.folder import Picture, content_of, list_pictures
from studio.datasets.looks import Looks
from studio.errors import InvalidRequestError
from studio.training_params import TrainingParams

FEWEST_HELD = 4  # with fewer pictures each is needed


@dataclass(frozen=True)
class Shot:
    """One picture. content: the sha256 of its file, mask and map of those beside it, "" without; size: (width, height)
    upright; caption: None without one."""

    picture: Picture
    content: str
    size: Size
    caption: str | None
    mask: str = ""
    map: str = ""

    @property
    def name(self) -> str:
        """As a person knows it: its file, in the dataset."""
        return self.picture.name


@dataclass(frozen=True)
class Shots:
    """Those to learn from, those to measure with, and (name, why) of those that cannot be used."""

    train: tuple[Shot, ...]
    held: tuple[Shot, ...]
    skipped: tuple[tuple[str, str], ...]


def read_shots(params: TrainingParams, folder: Path, cache: Path) -> Shots:
    """Look through a dataset. What is done with a picture follows from its content, not from its name or place.

    Raises: InvalidRequestError, if none of it can be used.
    """
    pictures = list_pictures(folder)
    mark = hashlib.sha256(str(folder.absolute()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    looks = Looks(cache / "looks" / f"{mark}.json").all(pictures)
    good = [
        Shot(one, look.content, (look.width, look.height), read_caption(one), content_of(one.mask), content_of(one.map))
        for one in pictures
        if not (look := looks[one.name]).trouble
    ]
    skipped = tuple((name, look.trouble) for name, look in looks.items() if look.trouble)
    if not good:
        found = f"None of its {len(pictures)} pictures can be read" if pictures else "There are no pictures in it"
        raise InvalidRequestError(
            f"The dataset {folder.name} cannot be used. {found}.", field="dataset", hint="Add three pictures or more."
        )
    train, held = held_apart(sorted(good, key=lambda shot: (shot.content, shot.name)), params.held_out)
    return Shots(tuple(train), tuple(held), skipped)


def held_apart(shots: Sequence[Shot], share: float) -> tuple[list[Shot], list[Shot]]:
    """Those to learn from and those to measure with: about `share` of them, chosen by content, copies together.

    With a share above 0 at least one is held out, but never all, and none of fewer than FEWEST_HELD.
    """
    contents = sorted({shot.content for shot in shots}, key=lambda content: hashlib.sha256(content.encode()).digest())
    if not share or len(contents) < FEWEST_HELD:
        return list(shots), []
    held = set(contents[: max(1, min(len(contents) - 1, round(share * len(contents))))])
    return [one for one in shots if one.content not in held], [one for one in shots if one.content in held]


def caption_of(shot: Shot, params: TrainingParams) -> str:
    """What the picture is called: its caption with the trigger put in, else the template."""
    text = " ".join((shot.caption or params.prompt_template).split())
    places = "{trigger}" in text
    text = text.replace("{trigger}", params.trigger).replace("{class}", params.class_word)
    text = " ".join(text.split())
    if places or not shot.caption or not params.trigger or has_word(text, params.trigger):
        return text
    return _with_trigger(text, params)


def _with_trigger(text: str, params: TrainingParams) -> str:
    """The trigger before the first word for what it is, else before everything."""
    if params.class_word and params.subject != "style" and has_word(text, params.class_word):
        words = text.split(" ")
        size = len(params.class_word.split())
        places = [i for i in range(len(words)) if has_word(" ".join(words[i : i + size]), params.class_word)]
        return " ".join([*words[: places[0]], params.trigger, *words[places[0] :]]) if places else text
    return f"{params.trigger} {text}"
