"""What a scene is in words: things with colours on a background, drawn from a seed."""

import random
from dataclasses import dataclass

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (212, 46, 42),
    "orange": (242, 136, 34),
    "yellow": (250, 210, 54),
    "green": (62, 158, 72),
    "blue": (48, 102, 210),
    "purple": (136, 70, 178),
    "pink": (244, 144, 184),
    "brown": (136, 86, 52),
    "white": (246, 245, 240),
    "black": (40, 40, 46),
}
KINDS = ("house", "tree", "car", "boat", "balloon", "heart", "star", "flower", "fish", "mushroom", "person")
HELD_OUT_KINDS = ("teapot", "rocket", "umbrella")
FLOATING = ("balloon", "heart", "star", "fish")
BACKGROUNDS = ("meadow", "night", "sea", "desert", "snow", "sunset", "plain")
POSES = ("standing", "waving", "with arms up", "with arms out")
PLAIN_COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "white")
CLASH = {
    "meadow": ("green",),
    "night": ("black",),
    "sea": ("blue",),
    "desert": ("yellow",),
    "snow": ("white",),
    "sunset": ("orange",),
}


@dataclass(frozen=True)
class Thing:
    """One object: kind of KINDS, colour of COLORS, and for a person a pose of POSES."""

    kind: str
    color: str
    pose: str = ""


@dataclass(frozen=True)
class Spec:
    """One scene. plain: the colour of a plain background, else ""; size and side are said of a single thing only."""

    background: str
    plain: str
    things: tuple[Thing, ...]
    size: str = ""
    side: str = ""


def sample_spec(rng: random.Random, kinds: tuple[str, ...] = KINDS) -> Spec:
    """Draw a scene of one thing (six in ten) or two."""
    background = rng.choices(BACKGROUNDS, (2, 2, 2, 2, 2, 2, 3))[0]
    plain = rng.choice(PLAIN_COLORS) if background == "plain" else ""
    taken = (plain,) if plain else CLASH[background]
    count = 1 if rng.random() < 0.6 else 2
    things = tuple(_sample_thing(rng, kinds, taken) for _ in range(count))
    if count == 2:
        return Spec(background, plain, things)
    size = rng.choices(("big", "small", ""), (0.25, 0.2, 0.55))[0]
    return Spec(
        background, plain, things, size, rng.choices(("left", "right", "middle", ""), (0.25, 0.25, 0.1, 0.4))[0]
    )


def _sample_thing(rng: random.Random, kinds: tuple[str, ...], taken: tuple[str, ...]) -> Thing:
    kind = rng.choice(kinds)
    color = rng.choice([c for c in COLORS if c not in taken])
    return Thing(kind, color, rng.choice(POSES) if kind == "person" else "")
