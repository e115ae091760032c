"""Words of a run: the one that calls what it learns, and the prompts of its sample pictures."""

import gzip
import re
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from studio.advice.wish import Base, Wish
from studio.training_params import CONTROL_METHODS

RARE, STARTER_RARE = "ohwx", "sks"  # single tokens that captions hardly ever held; the starter has one set aside
COMMON_RANK = 15_000  # of the merges that end a word, in CLIP's vocabulary of 49,408: "mug" is the 9,210th
PLACES = ("in the snow", "by the sea", "at sunset", "on a plain gray background")
STYLED = ("a red house on the grass", "a blue tree in the desert", "a yellow boat by the sea", "a person at sunset")
CLASSES = {"person": "person", "animal": "animal"}


def choose_trigger(wish: Wish, base: Base, method: str) -> tuple[str, str]:
    """The word that calls the result, and why it was chosen."""
    if method in ("inversion", "pivotal"):
        return re.sub(r"\s+", "-", wish.name), "The word that is learned is called as its file."
    if base.family == "starter":
        return STARTER_RARE, "One token that this small model was never shown."
    word = re.sub(r"[\W_]+", "", wish.name.lower())
    if word and not is_common(word, base.known_words):
        return word, "The name, which is no common word: it means nothing else to the model."
    return RARE, f"{word.capitalize() or 'The name'} is a common word, which the model would mix up with its own idea."


def is_common(word: str, known: Sequence[str] = ()) -> bool:
    """Whether a model knows the word: one of those it was shown, or among the frequent ones of CLIP's vocabulary."""
    word = word.lower()
    if known:
        return word in {part for phrase in known for part in phrase.lower().split()}
    return clip_ranks().get(word, COMMON_RANK) < COMMON_RANK


@lru_cache(maxsize=1)
def clip_ranks() -> dict[str, int]:
    """Words that are one token to CLIP, by how early they were merged: frequent ones first. Empty without the list."""
    spec = find_spec("open_clip")
    folders = spec.submodule_search_locations if spec else None
    try:
        with gzip.open(Path((folders or [""])[0]) / "bpe_simple_vocab_16e6.txt.gz", "rt", encoding="utf-8") as file:
            merges = file.read().split("\n")[1:48895]
    except OSError:
        return {}
    return {"".join(line.split())[:-4]: rank for rank, line in enumerate(merges) if line.endswith("</w>")}


def template(wish: Wish, method: str, class_word: str) -> str:
    """The caption of a picture without one."""
    if method in CONTROL_METHODS:
        return ""
    if wish.subject == "style":
        return "a picture in {trigger} style"
    return "a {trigger} {class}" if class_word else "a {trigger}"


def sample_prompts(wish: Wish, trigger: str, class_word: str, method: str) -> tuple[str, ...]:
    """What sample pictures are asked: the subject in new places, or new scenes in the style.

    Nothing for a control model: each sample follows a picture that was kept apart, with its own words.
    """
    if method in CONTROL_METHODS:
        return ()
    if wish.subject == "style":
        return tuple(f"{scene} in {trigger} style" for scene in STYLED)
    called = " ".join(filter(None, ("a", trigger, class_word)))
    return tuple(f"{called} {place}" for place in PLACES)
