"""A grid as one labelled picture."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from studio.grids.plan import Axis

SIDE_MAX = 6000  # pixels of the sheet
PAPER, INK, EMPTY = (255, 254, 252), (38, 37, 34), (222, 219, 214)
GAP, FONT = 8, 18
SHOWN = 40


@dataclass(frozen=True)
class Layout:
    """labels: of each axis, its values; picture: width and height of one."""

    labels: Sequence[Sequence[str]]
    picture: tuple[int, int]

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many columns, rows and blocks."""
        counts = [*(len(axis) for axis in self.labels), 1, 1]
        return counts[0], counts[1], counts[2]


def sides(axes: Sequence[Axis]) -> list[list[str]]:
    """What stands at the sheet's sides: each axis with its values."""
    return [[f"{axis.label}: {label}" for label in axis.labels] for axis in axes]


def draw_sheet(layout: Layout, open_picture: Callable[[tuple[int, ...]], Image.Image | None]) -> Image.Image:
    """The sheet: the first axis to the right, the second down, the third in blocks below each other.

    open_picture: Gives the picture at a place; None while it is not made, which leaves its place grey.
    """
    font = ImageFont.load_default(FONT)
    across, down, deep = layout.counts
    wide, high = _fitted(layout)
    left = _label_width(layout.labels[1:2], font, wide)
    head = FONT + 2 * GAP
    block = head + down * (high + GAP) + (head if deep > 1 else 0)
    sheet = Image.new("RGB", (left + across * (wide + GAP) + GAP, deep * block + GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    for deeper in range(deep):
        top = deeper * block + GAP
        if deep > 1:
            draw.text((GAP, top), _cut(layout.labels[2][deeper], sheet.width, font), INK, font)
            top += head
        for column in range(across):
            x = left + column * (wide + GAP) + GAP
            draw.text((x, top), _cut(layout.labels[0][column], wide, font), INK, font)
            for row in range(down):
                y = top + head + row * (high + GAP)
                if column == 0 and len(layout.labels) > 1:
                    draw.text((GAP, y), _cut(layout.labels[1][row], left, font), INK, font)
                picture = open_picture((column, row, deeper)[: len(layout.labels)])
                if picture is None:
                    draw.rectangle((x, y, x + wide, y + high), EMPTY)
                else:
                    sheet.paste(picture.convert("RGB").resize((wide, high), Image.Resampling.LANCZOS), (x, y))
    return sheet


def _fitted(layout: Layout) -> tuple[int, int]:
    """The size of one picture on the sheet: its own, or smaller where there are many."""
    across, down, deep = layout.counts
    wide, high = layout.picture
    scale = min(1.0, SIDE_MAX / (across * wide), SIDE_MAX / (down * deep * high))
    return max(16, round(wide * scale)), max(16, round(high * scale))


def _label_width(rows: Sequence[Sequence[str]], font: ImageFont.FreeTypeFont | ImageFont.ImageFont, most: int) -> int:
    widths = [font.getlength(label[:SHOWN]) for labels in rows for label in labels]
    return round(min(max(widths), max(most, 96))) + GAP if widths else 0


def _cut(label: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The label's beginning, as far as there is room."""
    shown = label.replace("\n", " ")[: 4 * SHOWN]
    while len(shown) > 1 and font.getlength(shown) > width:
        shown = f"{shown[:-2]}\N{HORIZONTAL ELLIPSIS}"
    return shown
