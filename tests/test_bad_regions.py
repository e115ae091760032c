"""The table of bad input for regional prompts: what is sent, the status and the words it is answered with."""

from typing import Any

import pytest
from PIL import Image

from tests.api.conftest import hashes, local, studio  # noqa: F401
from tests.api.kit import PROMPT, check_answer
from tests.test_bad_controls import send  # noqa: F401

RED, BLUE = "#e6553c", "#3c78e6"
SIZE = (128, 128)
HOUSE = {"color": RED, "words": "a house"}


def halves(second: str = BLUE) -> Image.Image:
    image = Image.new("RGB", SIZE, RED)
    image.paste(second, (64, 0, 128, 128))
    return image


# the map; the regions; other fields; the status; words of the warning (201), "" for none, or of the refusal (422)
TABLE: dict[str, tuple[Image.Image | None, list[dict[str, Any]], dict[str, Any], int, str]] = {
    "two regions": (halves(), [HOUSE, {"color": BLUE, "words": "a boat"}], {}, 201, ""),
    "one that covers all": (halves(RED), [HOUSE], {}, 201, ""),
    "no region painted": (Image.new("RGB", SIZE), [HOUSE], {}, 201, f"Nothing is painted in {RED}"),
    "area without words": (halves(), [HOUSE, {"color": BLUE}], {}, 201, f"The region in {BLUE} has no words"),
    "no words at all": (halves(), [{"color": RED}], {}, 201, "No region has words"),
    "no regions": (halves(), [], {}, 201, "No region has words"),
    "a colour of nobody": (halves(), [HOUSE], {}, 201, "50% of the regions map"),
    "a map of another aspect": (halves().resize((200, 100)), [HOUSE], {}, 201, "measures 200 x 100"),
    "a tag": (halves(RED), [{"color": RED, "words": "a house <lora:cat>"}], {}, 201, "in a region switches nothing on"),
    "a bracket that stays open": (halves(RED), [{"color": RED, "words": "(a house"}], {}, 201, "is never closed"),
    "twenty regions": (
        halves(),
        [{"color": f"#{i:06x}"} for i in range(20)],
        {},
        422,
        "There are 20 regions; at most 8",
    ),
    "a colour's name": (halves(), [{"color": "red"}], {}, 422, "A region's color is 'red'"),
    "one colour twice": (halves(), [HOUSE, HOUSE], {}, 422, f"Two regions are in {RED}"),
    "a weight of two": (halves(), [HOUSE | {"weight": 2}], {}, 422, "weight is 2"),
    "borders of half the picture": (halves(), [HOUSE], {"softness": 0.5}, 422, "softness is 0.5"),
    "words of 30,000 characters": (halves(), [{"color": RED, "words": "a" * 30_000}], {}, 422, "30,000 characters"),
    "a model": (halves(), [HOUSE], {"model": "x"}, 422, "regions takes no model"),
    "a mode": (halves(), [HOUSE], {"mode": "control"}, 422, "knows no mode control"),
    "no map": (None, [HOUSE], {}, 422, "The regions control has no map"),
    "another kind": (halves(), [HOUSE], {"kind": "depth"}, 422, "The depth control takes no regions"),
}


@pytest.mark.parametrize(("image", "regions", "fields", "status", "said"), TABLE.values(), ids=TABLE.keys())
def test_regions_are_taken_with_a_word_or_refused(local, send, image, regions, fields, status, said):  # noqa: F811
    shown = {} if image is None else {"map": send(image)}
    unit = {"kind": "regions", "regions": regions} | shown | fields
    answer = local.post("/api/v1/jobs", json=PROMPT | {"controls": [unit]})
    check_answer(answer, status, said)
    assert local.post("/api/v1/jobs", json=PROMPT).status_code == 201
