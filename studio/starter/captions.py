"""Scenes in words. Everything that a caption says is true of the scene; not everything is always said."""

import random

from studio.starter.spec import Spec, Thing, sample_spec

PLACES = {
    "meadow": ("on a green meadow", "in a meadow", "on the grass", "on a sunny day"),
    "night": ("under a night sky", "at night", "under the moon and stars", "in the dark night"),
    "sea": ("by the sea", "at the sea", "on the blue water", "by the ocean"),
    "desert": ("in the desert", "on the sand", "in the yellow dunes", "in the sandy desert"),
    "snow": ("in the snow", "in winter", "on a snowy day", "on white snow"),
    "sunset": ("at sunset", "under an orange sky", "in the evening", "at dusk"),
}
OPENINGS = ("", "", "", "", "a picture of ", "an illustration of ", "a drawing of ")
SIZES = {"big": ("big ", "large "), "small": ("small ", "little "), "": ("",)}


def caption(spec: Spec, rng: random.Random, *, complete: bool = False) -> str:
    """One sentence about the scene. complete: name every colour and the place, as a test of obedience needs."""
    names = [_name(thing, spec.size, rng, complete) for thing in spec.things]
    text = _pair(names, rng, complete) if len(names) == 2 else names[0] + _side(spec.side, rng, complete)
    if complete or rng.random() < 0.94:
        text += rng.choice((" ", ", ")) + _place(spec, rng)
    return rng.choice(OPENINGS) + text


def words() -> list[str]:
    """Every word that a caption can hold, in alphabetical order."""
    rng = random.Random(0)
    found: set[str] = set()
    for _ in range(4000):
        found.update(caption(sample_spec(rng), rng).replace(",", " ").split())
    return sorted(found)


def _article(text: str) -> str:
    return ("an " if text[0] in "aeio" else "a ") + text


def _name(thing: Thing, size: str, rng: random.Random, complete: bool) -> str:
    big = rng.choice(SIZES[size])
    if thing.kind == "person":
        shirt = f"in {_article(thing.color)} shirt"
        words = [shirt, thing.pose] if rng.random() < 0.6 else [thing.pose, shirt]
        if not complete and rng.random() < 0.2:
            words = words[:1]
        return " ".join([_article(big + "person"), *words])
    plain = not complete and rng.random() < 0.05
    return _article(big + (thing.kind if plain else f"{thing.color} {thing.kind}"))


def _pair(names: list[str], rng: random.Random, complete: bool) -> str:
    left, right = names
    forms = [
        f"{left} on the left and {right} on the right",
        f"{right} on the right and {left} on the left",
        f"{left} to the left of {right}",
        f"{right} to the right of {left}",
    ]
    if not complete and rng.random() < 0.3:
        return rng.choice((f"{left} and {right}", f"{right} and {left}"))
    return rng.choices(forms, (4, 2, 1, 1))[0]


def _side(side: str, rng: random.Random, complete: bool) -> str:
    if not side or (not complete and rng.random() < 0.15):
        return ""
    return " in the middle" if side == "middle" else f" on the {side}"


def _place(spec: Spec, rng: random.Random) -> str:
    if spec.plain:
        return rng.choice((f"on a plain {spec.plain} background", f"on {_article(spec.plain)} background"))
    return rng.choice(PLACES[spec.background])
