"""What a first visit shows: a house, drawn by hand, and the prompt for it."""

from typing import Any

PROMPT = "a red house under a night sky"
INK = "#1d1b19"
BRUSH = 12
LINES = (
    (
        (150, 402),
        (151, 340),
        (149, 262),
        (152, 256),
        (250, 254),
        (360, 257),
        (362, 330),
        (360, 401),
        (255, 404),
        (150, 402),
    ),
    ((128, 262), (190, 208), (254, 152), (258, 152), (320, 206), (386, 263), (300, 260), (200, 259), (128, 262)),
    ((232, 402), (233, 350), (232, 326), (256, 324), (281, 326), (280, 360), (281, 402)),
    ((176, 290), (206, 289), (207, 320), (177, 321), (176, 290)),
    ((306, 290), (336, 290), (336, 321), (307, 320), (306, 290)),
)


def house() -> dict[str, Any]:
    """The drawing, on a pad of 512 by 512."""
    strokes = [
        {"c": INK, "s": BRUSH, "e": 0, "p": [float(number) for x, y in line for number in (x, y, 1)]} for line in LINES
    ]
    return {"w": 512, "h": 512, "strokes": strokes, "background": None}
