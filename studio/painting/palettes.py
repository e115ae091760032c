"""The colours that name regions on a painting, by its kind."""

from studio.segments import REGIONS

SPOKEN: dict[str, tuple[int, int, int]] = {
    "coral": (224, 103, 74),
    "blue": (74, 134, 224),
    "green": (87, 168, 96),
    "gold": (227, 179, 65),
    "violet": (141, 107, 209),
    "teal": (60, 190, 170),
    "rose": (217, 106, 159),
    "brown": (150, 106, 70),
}
"""Of regions that have words of their own; the names are for people, the words say what is there."""

PALETTES = {"segments": REGIONS, "regions": SPOKEN}


def packed(color: tuple[int, int, int]) -> int:
    """The colour as 0xRRGGBB."""
    return color[0] << 16 | color[1] << 8 | color[2]


def spelled(color: tuple[int, int, int]) -> str:
    """The colour as "#rrggbb"."""
    return f"#{packed(color):06x}"
