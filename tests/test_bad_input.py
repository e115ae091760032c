"""The table of bad input: what is sent, and the status and words it is answered with. The studio goes on after each."""

import json
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from studio.app import build_studio
from studio.errors import StartError, StorageError
from studio.lock import StudioLock
from studio.messages import RawImage
from studio.server import listen_on
from studio.settings import load_settings
from tests.api.conftest import hashes, local, studio  # noqa: F401
from tests.api.kit import PROMPT, check_answer, finished, png

HOUSE = "a red house"
REQUESTS: list[tuple[str, Any, int, str]] = [
    # what is sent, as JSON or as text; the status; words of the warning (201) or of the refusal
    ("a long prompt", {"prompt": "a house, " * 1111 + "x"}, 201, ""),
    ("a prompt beyond measure", {"prompt": "x" * 20_001}, 422, "prompt has 20,001 characters"),
    ("an empty prompt", {"prompt": ""}, 201, "The prompt is empty"),
    ("spaces alone", {"prompt": " \n "}, 201, "The prompt is empty"),
    ("control characters", {"prompt": "a\x00 red\x07 house"}, 201, "2 invisible control characters"),
    ("half a character", '{"prompt": "a \\ud800 house"}', 201, "1 invisible control characters"),
    ("emoji", {"prompt": "a 🏠 at 🌙"}, 201, ""),
    ("a width not divisible by 8", {"prompt": HOUSE, "width": 131}, 201, "width was rounded from 131 to 128"),
    ("a width of zero", {"prompt": HOUSE, "width": 0}, 422, "width is 0, which is not between 64 and 2048"),
    ("a width below zero", {"prompt": HOUSE, "width": -8}, 422, "width is -8"),
    ("a height of 20,000", {"prompt": HOUSE, "height": 20_000}, 422, "height is 20000"),
    ("a width as text", {"prompt": HOUSE, "width": "wide"}, 422, "width must be a whole number"),
    ("guidance NaN", f'{{"prompt": "{HOUSE}", "guidance_scale": NaN}}', 422, "guidance_scale must be a finite number"),
    ("guidance infinite", '{"prompt": "x", "guidance_scale": Infinity}', 422, "guidance_scale must be a finite number"),
    ("guidance 1e999", '{"prompt": "x", "guidance_scale": 1e999}', 422, "guidance_scale must be a finite number"),
    ("guidance below zero", {"prompt": HOUSE, "guidance_scale": -1}, 422, "guidance_scale is -1"),
    ("no steps", {"prompt": HOUSE, "num_inference_steps": 0}, 422, "num_inference_steps is 0"),
    ("100,000 steps", {"prompt": HOUSE, "num_inference_steps": 100_000}, 422, "num_inference_steps is 100000"),
    ("half a step", {"prompt": HOUSE, "num_inference_steps": 2.5}, 422, "num_inference_steps must be a whole number"),
    ("a huge number", f'{{"prompt": "x", "seed": {"9" * 5000}}}', 422, "The body is no JSON"),
    ("a seed below zero", {"prompt": HOUSE, "seed": -5}, 422, "seed is -5"),
    ("no pictures", {"prompt": HOUSE, "count": 0}, 422, "count is 0"),
    ("1,000 pictures", {"prompt": HOUSE, "count": 1000}, 422, "count is 1000"),
    ("an unknown scheduler", {"prompt": HOUSE, "scheduler": "magic"}, 422, "There is no scheduler 'magic'"),
    ("an unknown field", {"prompt": HOUSE, "sampler": "ddim"}, 422, "Unknown field 'sampler'"),
    ("an unknown checkpoint", {"prompt": HOUSE, "checkpoint": "../../etc"}, 422, "There is no checkpoint"),
    ("a prompt that is a list", {"prompt": ["a"]}, 422, "prompt must be text"),
    ("a picture that is a path", {"prompt": HOUSE, "init_image": "/etc/passwd"}, 422, "not here"),
    ("a map that is not here", {"controls": [{"kind": "scribble", "map": "0" * 64}]}, 422, "not here"),
    ("a map scaled by NaN", '{"controls": [{"kind": "", "map": "", "conditioning_scale": NaN}]}', 422, "finite"),
    ("an unknown control", {"controls": [{"kind": "spell", "map": "0" * 64}]}, 422, "There is no control kind"),
    ("controls that are no list", {"controls": {"kind": "scribble"}}, 422, "controls must be a list"),
    ("a range that ends before it begins", '{"controls": [{"kind": "scribble", "map": "", '
     '"control_guidance_start": 0.9, "control_guidance_end": 0.1}]}', 422, "0 <= start < end <= 1"),
    ("no JSON", "{prompt", 422, "The body is no JSON"),
    ("no object", "[1]", 422, "The body is no JSON object"),
    ("bytes", "\xff\xfe", 422, "The body is no JSON"),
    ("a deep nest", "[" * 100_000, 422, "The body is no JSON"),
]  # fmt: skip


def picture(kind: str, mode: str = "RGB", size: tuple[int, int] = (16, 16)) -> bytes:
    buffer = BytesIO()
    Image.new(mode, size).save(buffer, kind)
    return buffer.getvalue()


def huge_png() -> bytes:
    """A small file whose header says 30,000 by 30,000."""
    data = bytearray(png())
    data[16:24] = (30_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


def gif_bomb() -> bytes:
    """A small file that says it unfolds to 60,000 by 60,000."""
    data = bytearray(picture("GIF", "P"))
    data[6:10] = (60_000).to_bytes(2, "little") * 2
    return bytes(data)


UPLOADS: list[tuple[str, Callable[[], bytes], int, str]] = [
    ("one pixel", lambda: png(size=(1, 1)), 201, ""),
    ("30,000 x 30,000", huge_png, 422, "30000"),
    ("a truncated PNG", lambda: png(size=(64, 64))[:-60], 422, ""),
    ("a GIF bomb", gif_bomb, 422, "60000"),
    ("an SVG", lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', 422, "SVG"),
    ("a CMYK JPEG", lambda: picture("JPEG", "CMYK"), 201, ""),
    ("nothing", lambda: b"", 422, ""),
    ("a text", lambda: b"GIF89a, or so it says", 422, ""),
    ("a page", lambda: b"<html><script>alert(1)</script>", 422, ""),
]


def goes_on(local) -> bool:  # noqa: F811
    """Whether the studio still takes a job."""
    return local.post("/api/v1/jobs", json=PROMPT).status_code == 201


@pytest.mark.parametrize(("sent", "status", "said"), [pytest.param(*row[1:], id=row[0]) for row in REQUESTS])
def test_a_request_is_put_right_or_refused_in_a_sentence(local, sent, status, said):  # noqa: F811
    content = sent.encode("latin-1") if isinstance(sent, str) else json.dumps(sent).encode()
    answer = local.post("/api/v1/jobs", content=content, headers={"content-type": "application/json"})
    check_answer(answer, status, said)
    assert "Traceback" not in answer.text
    assert goes_on(local)


@pytest.mark.parametrize(("make", "status", "said"), [pytest.param(*row[1:], id=row[0]) for row in UPLOADS])
@pytest.mark.parametrize("route", ["assets", "settings-from-picture"])
def test_a_picture_is_kept_or_refused_in_a_sentence(local, route, make, status, said):  # noqa: F811
    answer = local.post(f"/api/v1/{route}", content=make())
    if route == "settings-from-picture" and status == 201:
        assert answer.status_code in (200, 422)
    else:
        assert answer.status_code == status
    if answer.status_code == 422:
        body = answer.json()
        assert said in body["detail"] or route != "assets"
        assert body["detail"].endswith(".")
        assert "/" not in body["detail"].replace("and/or", "")
    assert goes_on(local)


def test_a_canvas_with_nothing_drawn_is_told_apart(studio):  # noqa: F811
    from studio.access import LOCAL_USER

    assert studio.add_strokes({"w": 64, "h": 64, "strokes": []}, (64, 64), LOCAL_USER).empty


def test_a_full_disk_loses_nothing_and_is_a_sentence(studio, local, monkeypatch):  # noqa: F811
    from studio.access import LOCAL_USER

    _, item = finished(studio, LOCAL_USER)

    def full(*_args: object, **_kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("studio.files.os.replace", full)
        answer = local.post("/api/v1/assets", content=png("green"))
        params = studio.resolve(studio.gallery.get(item).params.to_request())[0]
        with pytest.raises(StorageError, match="No space left"):
            studio.gallery.add("job", "local", params, (RawImage(8, 8, bytes(192), 1),))
    assert (answer.status_code, "No space left" in answer.json()["detail"]) == (507, True)
    assert [i["id"] for i in local.get("/api/v1/gallery").json()] == [item]
    assert local.post("/api/v1/assets", content=png("green")).status_code == 201
    assert goes_on(local)


def test_a_read_only_data_folder_is_named(tmp_path, monkeypatch):
    def read_only(*_args: object, **_kwargs: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", read_only)
    with pytest.raises(StorageError, match=r"data.*cannot be written.*Read-only") as caught:
        build_studio(load_settings(tmp_path / "data"))
    assert "--data" in caught.value.hint


def test_a_corrupt_studio_db_is_set_aside_and_the_gallery_listed_again(studio):  # noqa: F811
    from studio.access import LOCAL_USER

    finished(studio, LOCAL_USER)
    studio.jobs.database.close()
    folder = studio.settings.paths.root
    for suffix in ("-wal", "-shm"):
        (folder / f"studio.db{suffix}").unlink(missing_ok=True)
    (folder / "studio.db").write_bytes(b"no database" * 1000)
    again = build_studio(load_settings(folder))
    assert len(list(folder.glob("studio.db.broken-*"))) == 1
    assert "damaged" in again.warnings[0]
    assert [item.prompt for item in again.gallery.page()] == [PROMPT["prompt"]]


def test_a_second_studio_on_one_folder_is_refused_with_the_first_ones_address(studio):  # noqa: F811
    path = studio.settings.paths.lock
    with StudioLock(path) as first:
        first.announce(7861)
        with pytest.raises(StartError, match="7861"), StudioLock(path):
            pass


def test_a_port_that_is_taken_is_refused_with_a_free_one():
    with listen_on("127.0.0.1", 0) as taken, pytest.raises(StartError, match="taken"):
        listen_on("127.0.0.1", taken.getsockname()[1])


def test_another_website_is_refused(local):  # noqa: F811
    answer = local.post("/api/v1/jobs", json=PROMPT, headers={"origin": "http://evil.example"})
    assert answer.status_code == 403
    assert answer.json()["detail"] == "Another website tried to use this studio; that is refused."
    assert goes_on(local)
