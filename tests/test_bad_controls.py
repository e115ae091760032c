"""The table of bad input for controls: what is sent, the status and the words it is answered with.

Nothing in it reaches the worker but the maps that are asked for, and the studio goes on after each.
"""

import json
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from studio.access import LOCAL_USER
from studio.errors import InvalidRequestError
from studio.skeleton import JOINTS, read_pose
from tests.api.conftest import hashes, local, studio  # noqa: F401
from tests.api.kit import PROMPT, answer_maps, check_answer
from tests.control.pictures import square
from tests.control.readers import save_reader
from tests.library.test_library import make_control

SIZE = (128, 128)
DRAWN = square("white", "black")
Send = Callable[[Image.Image], str]


def lines(size: tuple[int, int]) -> Image.Image:
    image = Image.new("RGB", size)
    ImageDraw.Draw(image).rectangle((20, 20, 40, 40), outline="white")
    return image


def holed() -> Image.Image:
    """White where it is opaque, and white that is not seen."""
    image = Image.new("RGBA", SIZE, (255, 255, 255, 0))
    image.paste((255, 255, 255, 255), (20, 20, 40, 40))
    return image


def deep(low: int, high: int) -> Image.Image:
    return Image.fromarray(np.linspace(low, high, SIZE[0] * SIZE[1], dtype=np.uint16).reshape(SIZE))


def unit(send: Send, image: Image.Image | None = DRAWN, **fields: Any) -> dict[str, Any]:
    made = {} if image is None else {"map": send(image)}
    return {"kind": "scribble"} | made | fields


# what is sent; the status; words of the warning (201), "" for none, or of the refusal (422)
TABLE: list[tuple[str, Callable[[Send], list[dict[str, Any]]], int, str]] = [
    ("a map", lambda send: [unit(send)], 201, ""),
    ("no map", lambda send: [unit(send, None)], 422, "The scribble control has no map."),
    ("a map that is not here", lambda send: [unit(send, None, map="0" * 64)], 422, "not here"),
    ("a source that is not here", lambda send: [unit(send, None, source="0" * 64)], 422, "not here"),
    ("a map that is a path", lambda send: [unit(send, None, map="/etc/passwd")], 422, "not here"),
    ("a larger map of the same aspect", lambda send: [unit(send, lines((512, 512)))], 201, ""),
    ("a map of one pixel", lambda send: [unit(send, Image.new("RGB", (1, 1)))], 201, "shows nothing"),
    ("a map of another aspect", lambda send: [unit(send, lines((200, 100)))], 201,
     "measures 200 x 100 and was cropped to fit 128 x 128 pixels."),
    ("the same, whole", lambda send: [unit(send, lines((200, 100)), resize_mode="fill")], 201, "given black bars"),
    ("the same, bent", lambda send: [unit(send, lines((200, 100)), resize_mode="stretch")], 201, "stretched"),
    ("a way to fit that there is not", lambda send: [unit(send, resize_mode="bend")], 422, "resize_mode is 'bend'"),
    ("a map that is transparent in places", lambda send: [unit(send, holed())], 201, "which count as black"),
    ("a black map", lambda send: [unit(send, Image.new("RGB", SIZE))], 201, "it has one colour everywhere"),
    ("a map that is all transparent", lambda send: [unit(send, Image.new("RGBA", SIZE))], 201, "shows nothing"),
    ("black lines on white", lambda send: [unit(send, square())], 201, "mostly white"),
    ("an empty mask", lambda send: [unit(send, mask=send(Image.new("L", SIZE)))], 422, "black everywhere"),
    ("a mask that is all transparent", lambda send: [unit(send, mask=send(Image.new("RGBA", SIZE)))], 422, "black"),
    ("a mask that covers all", lambda send: [unit(send, mask=send(Image.new("L", SIZE, 255)))], 201,
     "covers the whole picture"),
    ("a mask of another size", lambda send: [unit(send, mask=send(lines((40, 90))))], 201, ""),
    ("ten units at once", lambda send: [unit(send, conditioning_scale=0.1)] * 10, 201, ""),
    ("twenty-one units", lambda send: [unit(send)] * 21, 422, "There are 21 controls; at most 20 are taken."),
    ("a start after the end", lambda send: [unit(send, control_guidance_start=0.9, control_guidance_end=0.1)], 422,
     "0 <= start < end <= 1, found 0.9 and 0.1"),
    ("a range of nothing", lambda send: [unit(send, control_guidance_end=0.0)], 422, "start < end"),
    ("a scale of zero", lambda send: [unit(send, conditioning_scale=0)], 201, ""),
    ("a scale of three", lambda send: [unit(send, conditioning_scale=3)], 422, "conditioning_scale is 3"),
    ("a mode that there is not", lambda send: [unit(send, mode="guess")], 422, "mode is 'guess'"),
    ("a model for another base", lambda send: [unit(send, model="sd15_scribble")], 422, "made for SD 1.5"),
    ("a model that is not here", lambda send: [unit(send, model="gone")], 422, "There is no controlnet 'gone'"),
    ("a kind that no model here follows", lambda send: [unit(send, kind="shuffle")], 422, "There is no shuffle"),
    ("an annotator that there is not", lambda send: [unit(send, None, source=send(DRAWN), annotator="spell")], 422,
     "There is no annotator 'spell'."),
    ("an annotator without its weights", lambda send: [unit(send, None, source=send(DRAWN), annotator="scribble_hed")],
     422, "needs a download of about 29 MB"),
    ("an option out of range", lambda send: [unit(send, None, source=send(DRAWN), annotator="canny",
                                                  annotator_options=[["low_threshold", 300]])], 422,
     "not between 0 and 254"),
]  # fmt: skip


@pytest.fixture
def send(local) -> Send:  # noqa: F811
    """Upload a picture; its id."""

    def sent(image: Image.Image) -> str:
        buffer = BytesIO()
        image.save(buffer, "PNG")
        answer = local.post("/api/v1/assets", content=buffer.getvalue())
        assert answer.status_code == 201
        return answer.json()["id"]

    return sent


@pytest.fixture
def asked(studio, monkeypatch) -> list[Any]:  # noqa: F811
    """The questions that reached the worker, which answers them."""
    return answer_maps(studio, monkeypatch)


@pytest.fixture
def other_base(studio):  # noqa: F811
    make_control(studio.settings.paths.models / "controlnet" / "sd15_scribble")
    studio.library.refresh()


@pytest.mark.usefixtures("other_base")
@pytest.mark.parametrize(("controls", "status", "said"), [pytest.param(*row[1:], id=row[0]) for row in TABLE])
def test_a_control_is_taken_with_a_word_or_refused(local, send, asked, controls, status, said):  # noqa: F811
    answer = local.post("/api/v1/jobs", json=PROMPT | {"controls": controls(send)})
    check_answer(answer, status, said)
    assert not asked
    assert local.post("/api/v1/jobs", json=PROMPT).status_code == 201


@pytest.mark.parametrize(("low", "high"), [(0, 65535), (20_000, 50_000)])
def test_depth_of_16_bits_keeps_its_whole_range_in_8(studio, send, low, high):  # noqa: F811
    kept = np.asarray(studio.assets.open_image(send(deep(low, high))))
    assert (kept.dtype, kept.min(), kept.max()) == (np.uint8, low >> 8, high >> 8)
    assert (np.diff(kept.ravel().astype(int)) >= 0).all()


@pytest.mark.parametrize("bytes_left", [0, 100])
def test_weights_that_are_cut_short_are_told_by_the_worker(studio, local, send, asked, bytes_left):  # noqa: F811
    file = save_reader(studio.settings.paths.models / "annotators")
    file.write_bytes(file.read_bytes()[:bytes_left])
    asking = {"kind": "scribble", "source": send(DRAWN), "annotator": "starter_depth"}
    answer = local.post("/api/v1/jobs", json=PROMPT | {"controls": [asking]})
    assert answer.status_code == 422
    assert answer.json()["detail"] == "annotator.safetensors is damaged, or holds something else than it should."
    assert len(asked) == 1


def person(*, places: dict[int, tuple[float, float]] | None = None) -> dict[str, Any]:
    """Somebody of whom those joints are seen; all of them in the middle, if none are given."""
    at = {number: (64.0, 4.0 * number + 8) for number in range(len(JOINTS))} if places is None else places
    return {"pose_keypoints_2d": [n for i in range(len(JOINTS)) for n in ((*at[i], 1.0) if i in at else (0, 0, 0))]}


def pose(*people: Any) -> str:
    return json.dumps({"canvas_width": 128, "canvas_height": 128, "people": people})


POSES: list[tuple[str, str, str]] = [
    # a file; "map" for one that is drawn, "nothing" for one that shows nobody, or the refusal
    ("somebody", pose(person()), "map"),
    ("missing joints", pose(person(places={0: (60, 20), 1: (60, 40), 2: (50, 42)})), "map"),
    ("no joint at all", pose(person(places={})), "nothing"),
    ("nobody", pose(), "nothing"),
    ("40 people", pose(*[person()] * 40), "map"),
    ("41 people", pose(*[person()] * 41), "it has 41 people, and at most 40 are read"),
    ("a joint off the canvas", pose(person(places={0: (60, 20), 1: (60, -40)})), "map"),
    ("everybody off the canvas", pose(person(places={0: (-60, -20), 1: (-60, -40)})), "nothing"),
    ("a joint at infinity", pose(person(places={0: (60, 20), 1: (float("inf"), 4)})), "which is not a number"),
    ("a joint that is NaN", pose(person(places={0: (float("nan"), 20)})), "which is not a number"),
    ("17 joints", pose({"pose_keypoints_2d": [1.0] * 51}), "person 1"),
    ("text for a joint", pose({"pose_keypoints_2d": ["x"] * 54}), "person 1"),
    ("a list", "[1, 2]", "not an object with people"),
    ("another object", '{"name": "a settings file"}', "not an object with people"),
    ("no JSON", "a picture", "not JSON"),
    ("a deep nest", "[" * 100_000, "not JSON"),
]


@pytest.mark.parametrize(("text", "outcome"), [pytest.param(*row[1:], id=row[0]) for row in POSES])
def test_a_pose_is_drawn_or_refused_in_a_sentence(studio, text, outcome):  # noqa: F811
    if outcome in ("map", "nothing"):
        kept = studio.add_pose(read_pose(text), SIZE, LOCAL_USER)
        assert kept.empty == (outcome == "nothing")
        assert kept.empty or studio.assets.open_image(kept.map).getbbox() is not None
        return
    with pytest.raises(InvalidRequestError, match=outcome) as refused:
        read_pose(text)
    assert refused.value.hint
