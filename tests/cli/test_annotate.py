"""`annotate`: what it writes, and how it brings what an annotator needs."""

import json
from contextlib import contextmanager

import pytest

from studio.cli import annotate as module
from studio.cli.annotate import annotate
from studio.cli.parser import parse
from studio.errors import DownloadError, InvalidRequestError
from studio.settings import load_settings

PEOPLE = {"canvas_width": 8, "canvas_height": 8, "people": [{"pose_keypoints_2d": [4.0, 3.0, 1.0] * 18}]}


class FakeStudio:
    """A backend whose annotator finds `found` beside its map; its downloads end as `ends` says."""

    def __init__(self, found=None, ends=()):
        self.found, self.ends, self.heard = found or {}, list(ends), []

    def keep(self, data):
        return "a" * 64

    def annotate(self, asset, annotator, options):
        self.heard.append(annotator)
        made = {} if "words" in self.found else {"map": "b" * 64}
        return made | {"annotator": annotator, "options": options} | self.found

    def asset(self, asset):
        return b"png of " + asset[:1].encode()

    def download_annotator(self, name):
        self.heard.append(f"download {name}")
        return [{"id": str(number), "state": "running"} for number, _ in enumerate(self.ends)]

    def look(self, download_id):
        return {"id": download_id, "state": self.ends[int(download_id)], "error": "It broke off.", "hint": "Again."}


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Run the command with a studio; what it returns, and the file that it was to write."""
    (tmp_path / "photo.jpg").write_bytes(b"photo")

    def run(studio, *words, out="map.png"):
        @contextmanager
        def backend(settings, open_studio):
            yield studio

        monkeypatch.setattr(module, "backend", backend)
        monkeypatch.setattr(module, "place", lambda studio: studio)
        flags = parse(["annotate", "pose", str(tmp_path / "photo.jpg"), "--out", str(tmp_path / out), *words])
        assert annotate(flags, load_settings(tmp_path), None) == 0
        return tmp_path / out

    return run


def test_the_map_is_written(call):
    assert call(FakeStudio(PEOPLE)).read_bytes() == b"png of b"


def test_people_are_written_as_openpose_does(call):
    assert json.loads(call(FakeStudio(PEOPLE), out="people.json").read_text()) == PEOPLE


def test_a_map_without_people_is_no_json(call):
    with pytest.raises(InvalidRequestError, match="makes no people") as error:
        call(FakeStudio(), out="people.json")
    assert error.value.field == "out"


def test_a_caption_is_a_line_of_text(call):
    studio = FakeStudio({"words": "a house"})
    assert call(studio, out="words.txt").read_text() == "a house\n"
    for other, out in ((studio, "map.png"), (FakeStudio(PEOPLE), "words.txt")):
        with pytest.raises(InvalidRequestError, match="makes no") as error:
            call(other, out=out)
        assert "Let its name end in" in error.value.hint


def test_nothing_is_downloaded_unless_it_is_asked_for(call):
    studio = FakeStudio(ends=["done"])
    call(studio)
    assert studio.heard == ["pose"]


def test_what_is_missing_comes_first(call):
    studio = FakeStudio(ends=["done", "done"])
    call(studio, "--download")
    assert studio.heard == ["download pose", "pose"]


def test_a_download_that_fails_is_told_and_one_that_is_stopped_stops_the_command(call):
    with pytest.raises(DownloadError, match="It broke off") as error:
        call(FakeStudio(ends=["done", "failed"]), "--download")
    assert error.value.hint == "Again."
    with pytest.raises(KeyboardInterrupt):
        call(FakeStudio(ends=["cancelled"]), "--download")
