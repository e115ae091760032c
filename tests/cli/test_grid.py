"""`generate --grid`, with a worker that only paints."""

import json

import pytest
from PIL import Image

from studio.cli.grid import generate_grid, parse_grid
from studio.cli.parser import parse
from studio.errors import InvalidRequestError
from studio.settings import load_settings
from tests.cli.test_one_job import painting_studio


def run(tmp_path, *words):
    flags = parse(["generate", "--prompt", "a red house", "--steps", "2", "--out", str(tmp_path / "grid.png"), *words])
    return generate_grid(flags, load_settings(tmp_path / "data"), painting_studio)


def test_a_grid_becomes_one_sheet(tmp_path, capsys):
    assert run(tmp_path, "--grid", "seed=1,2,3", "--grid", "guidance_scale=3,5", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["status"], report["pictures"]) == ("done", 6)
    sheet = Image.open(report["sheet"])
    assert sheet.width > 3 * 128
    assert sheet.height > 2 * 128


def test_a_picture_that_fails_leaves_its_place_empty(tmp_path, capsys):
    assert run(tmp_path, "--grid", "words=house,fail") == 1
    assert "out of memory" in capsys.readouterr().err
    assert (tmp_path / "grid.png").is_file()


@pytest.mark.parametrize(
    ("text", "says"),
    [("seed", "says no values"), ("seed=", "has no values"), ("seed=a", "is no number"), ("mood=1", "cannot change")],
)
def test_an_axis_that_cannot_be_is_refused(text, says):
    with pytest.raises(InvalidRequestError, match=says):
        parse_grid(text)


def test_a_grid_with_one_wrong_picture_makes_none(tmp_path):
    with pytest.raises(InvalidRequestError, match="between 0 and 30"):
        run(tmp_path, "--grid", "guidance_scale=3,99")
    assert not (tmp_path / "grid.png").exists()
