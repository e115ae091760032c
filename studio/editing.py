"""What the Edit tab holds, as data: a picture, what is painted over on it, and a frame that may be larger than it.

An edit is {"w", "h", "picture": {"id", "w", "h"} | None, "strokes", "base", "inverted", "frame", "strength", "alone",
"padding", "blur", "fill"}. w and h are the sheet while there is no picture. Strokes are those of studio.strokes in
pixels of the picture, over the base, a finished mask; with `inverted` everything else is painted. The frame is the
pixels by which the picture grows at its left, top, right and bottom. `alone`: only the painted part is made anew, with
`padding` pixels around it. strength, blur and fill are those of studio.params.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from PIL import Image, ImageChops

from studio.errors import InvalidRequestError
from studio.inpainting import SURROUNDINGS, Size, check_sides, grow, grown_mask
from studio.params import BLUR_MAX, FILLS, MASK_BLUR, PADDING_MAX
from studio.strokes import clean_strokes, rasterise

FIELD = "edit"
STEP = 8
FRAME_MAX = 2048
SIDE_MIN, SIDE_MAX = 64, 2048
SMALLER, LARGER = 0.5, 2.25  # of the pixels that are asked for: between them a picture is made in its own size
START: dict[str, Any] = {
    "picture": None,
    "strokes": [],
    "base": None,
    "inverted": False,
    "frame": [0, 0, 0, 0],
    "strength": 0.75,
    "alone": False,
    "padding": 32,
    "blur": MASK_BLUR,
    "fill": "original",
}


@dataclass(frozen=True)
class Prepared:
    """An edit as pictures: the canvas to begin with, and the mask of what may change, None for all of it.

    grown: Whether the canvas is another picture than the one that was chosen.
    """

    canvas: Image.Image
    mask: Image.Image | None
    grown: bool


def clean_edit(value: object) -> dict[str, Any]:
    """An edit from a browser, checked and with nothing else in it; what is left out is as it begins.

    Raises: InvalidRequestError, saying what does not fit.
    """
    if not isinstance(value, Mapping):
        raise _wrong("it is not an object with a picture")
    given = START | {name: part for name, part in cast("Mapping[str, Any]", value).items() if part is not None}
    sheet = clean_strokes({"w": given.get("w", 512), "h": given.get("h", 512)})
    edit: dict[str, Any] = {"w": sheet["w"], "h": sheet["h"], **START, **_settings(given)}
    if given["picture"] is None:
        return edit
    picture = _picture(given["picture"])
    drawn = {"w": picture["w"], "h": picture["h"], "strokes": given["strokes"], "base": given["base"]}
    mask = clean_strokes(drawn)
    return edit | {
        "picture": picture,
        "strokes": mask["strokes"],
        "base": mask.get("base"),
        "inverted": given["inverted"] is True,
        "frame": _frame(given["frame"], (picture["w"], picture["h"])),
    }


def prepare(edit: Mapping[str, Any], picture: Image.Image, base: Image.Image | None) -> Prepared:
    """The cleaned edit of a picture as pictures; base: the finished mask under the strokes, if there is one."""
    mask, frame = painted(edit, picture.size, base), edit["frame"]
    if not any(frame):
        return Prepared(picture, mask, grown=False)
    canvas = grow(picture, frame, SURROUNDINGS[edit["fill"]])
    return Prepared(canvas, grown_mask(mask, picture.size, frame), grown=True)


def painted(edit: Mapping[str, Any], size: Size, base: Image.Image | None) -> Image.Image | None:
    """The mask of what is painted over on a picture of that size, L; None if nothing is."""
    picture = edit["picture"]
    drawing = {"w": picture["w"], "h": picture["h"], "strokes": edit["strokes"]}
    mask = rasterise(drawing, *size).convert("L")
    if base is not None:
        # over black and over white: what no stroke touches is the base's own, bit for bit
        white = drawing | {"base": {"box": [0, 0, picture["w"], picture["h"]]}}
        lying = base.convert("L") if base.size == size else base.convert("L").resize(size)
        mask = Image.composite(rasterise(white, *size, Image.new("L", (1, 1), 255)).convert("L"), mask, lying)
    if edit["inverted"]:
        mask = ImageChops.invert(mask)
    return mask if mask.getbbox() else None


def request_fields(edit: Mapping[str, Any], prepared: Prepared, size: Size) -> dict[str, Any]:
    """The fields of a request that the edit sets, beside its pictures; size: what the form asks for."""
    fields: dict[str, Any] = {"strength": edit["strength"]}
    if prepared.mask is not None:
        fields |= {"mask_blur": edit["blur"], "fill": edit["fill"]}
        if edit["alone"]:
            return fields | {"mask_padding": edit["padding"]}
    width, height = made_size(prepared.canvas.size, size)
    return fields | {"width": width, "height": height}


def made_size(canvas: Size, wanted: Size) -> Size:
    """The size in which the whole of a canvas is made: its own, or its aspect with as many pixels as are wanted."""
    share = canvas[0] * canvas[1] / (wanted[0] * wanted[1])
    scale = 1.0 if SMALLER <= share <= LARGER else share**-0.5
    scale = min(scale, SIDE_MAX / max(canvas))
    width, height = (max(SIDE_MIN, round(side * scale / STEP) * STEP) for side in canvas)
    return width, height


def _picture(value: object) -> dict[str, Any]:
    given = cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}
    name = given.get("id")
    if not isinstance(name, str) or len(name) != 64 or not set(name) <= set("0123456789abcdef"):
        raise _wrong("the picture has no id")
    sheet = clean_strokes({"w": given.get("w"), "h": given.get("h")})
    return {"id": name, "w": sheet["w"], "h": sheet["h"]}


def _frame(value: object, size: Size) -> list[int]:
    sides = cast("list[object]", value) if isinstance(value, list) else []
    if len(sides) != 4 or not all(_whole(side) and 0 <= cast(int, side) <= FRAME_MAX for side in sides):
        raise _wrong(f"the frame is not four numbers of pixels from 0 to {FRAME_MAX}")
    return list(check_sides([int(cast(int, side)) for side in sides], size))


def _settings(given: Mapping[str, Any]) -> dict[str, Any]:
    strength, fill = given["strength"], given["fill"]
    if isinstance(strength, bool) or not isinstance(strength, int | float) or not 0.01 <= strength <= 1:
        raise _wrong(f"how much changes is {strength!r:.20}, which is not between 0.01 and 1")
    for name, most in (("padding", PADDING_MAX), ("blur", BLUR_MAX)):
        if not _whole(given[name]) or not 0 <= given[name] <= most:
            raise _wrong(f"its {name} is {given[name]!r:.20}, which is not a whole number from 0 to {most}")
    if fill not in FILLS:
        raise _wrong(f"it begins from {fill!r:.20}, where {', '.join(FILLS)} are known")
    numbers = {name: int(given[name]) for name in ("padding", "blur")}
    return numbers | {"strength": float(strength), "fill": fill, "alone": given["alone"] is True}


def _whole(number: object) -> bool:
    return isinstance(number, int | float) and not isinstance(number, bool) and float(number).is_integer()


def _wrong(what: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"The edit cannot be used: {what}.", field=FIELD, hint="Choose the picture again on the Edit tab."
    )
