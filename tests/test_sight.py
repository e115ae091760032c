"""What is looked at before a picture is made: maps of photos and captions, with the worker's code called directly."""

import numpy as np
import pytest

from studio.access import LOCAL_USER
from studio.errors import InvalidRequestError
from studio.params import ControlUnit, GenerationRequest
from studio.registry import load_registry
from studio.resolve import DEFAULT_PROMPT
from studio.sight import Question, fitting
from tests.api.conftest import hashes, studio  # noqa: F401
from tests.api.kit import answer_maps
from tests.control.pictures import square
from tests.control.readers import save_reader


@pytest.fixture
def asked(studio, monkeypatch):  # noqa: F811
    """The questions that reached the worker."""
    return answer_maps(studio, monkeypatch)


@pytest.fixture
def photo(studio):  # noqa: F811
    return studio.assets.put_image(square().resize((300, 200)))


def resolve(studio, **fields):  # noqa: F811
    return studio.resolve(GenerationRequest(**fields))


def test_a_control_without_a_map_gets_the_one_that_its_annotator_makes_of_its_source(studio, asked, photo):  # noqa: F811
    unit = ControlUnit(kind="scribble", source=photo, annotator="canny", annotator_options=(("low_threshold", 50),))
    params, _ = resolve(studio, prompt="a house", controls=(unit,), width=192, height=128)
    (made,) = params.controls
    assert (made.source, made.annotator) == (photo, "canny")
    assert made.annotator_options == (("low_threshold", 50.0), ("high_threshold", 200.0))
    drawn = studio.assets.open_image(made.map)
    assert drawn.size == (192, 128)
    assert set(np.unique(np.asarray(drawn))) == {0, 255}
    assert resolve(studio, **vars(params.to_request()))[0] == params
    assert len(asked) == 1


def test_without_an_annotators_name_the_default_of_the_kind_makes_it(studio, asked, photo):  # noqa: F811
    params, _ = resolve(studio, prompt="a", controls=(ControlUnit(kind="scribble", source=photo),))
    assert params.controls[0].annotator == "scribble"


def test_nothing_is_looked_at_when_something_else_is_refused(studio, asked, photo):  # noqa: F811
    units = (ControlUnit(kind="scribble", source=photo), ControlUnit(kind="scribble"))
    with pytest.raises(InvalidRequestError, match="The scribble control has no map"):
        resolve(studio, controls=units)
    with pytest.raises(InvalidRequestError, match="guidance_scale"):
        resolve(studio, controls=units[:1], guidance_scale=-1.0)
    assert not asked


def test_an_annotator_of_words_makes_no_map(studio, asked, photo):  # noqa: F811
    save_reader(studio.settings.paths.models / "annotators")
    unit = ControlUnit(kind="scribble", source=photo, annotator="starter_caption")
    with pytest.raises(InvalidRequestError, match="starter_caption makes no maps"):
        resolve(studio, controls=(unit,))


@pytest.mark.parametrize(
    ("mode", "words"),
    [("typed", ("a house", "blur")), ("none", ("", "")), ("default", (DEFAULT_PROMPT, "blur"))],
)
def test_a_mode_says_where_the_words_come_from_and_leaves_nothing_to_choose(studio, mode, words):  # noqa: F811
    params, _ = resolve(studio, prompt="a house", negative_prompt="blur", prompt_mode=mode)
    assert (params.prompt, params.negative_prompt) == words
    assert params.to_request().prompt_mode == "typed"
    assert resolve(studio, **vars(params.to_request()))[0] == params


def test_words_are_written_from_the_picture_and_told(studio, asked, photo):  # noqa: F811
    save_reader(studio.settings.paths.models / "annotators")
    params, said = resolve(studio, prompt="typed", init_image=photo, prompt_mode="automatic")
    assert "person" in params.prompt
    assert f'The prompt was written from the picture: "{params.prompt}".' in said
    assert [(question.asset, question.annotator) for question, _ in asked] == [(photo, "starter_caption")]


def test_the_photo_that_a_map_was_made_of_is_described(studio, asked, photo):  # noqa: F811
    save_reader(studio.settings.paths.models / "annotators")
    unit = ControlUnit(kind="scribble", map=studio.assets.put_image(square("white", "black")), source=photo)
    resolve(studio, controls=(unit,), prompt_mode="automatic")
    assert [question.asset for question, _ in asked] == [photo]


def test_without_a_picture_there_are_no_words(studio, asked):  # noqa: F811
    with pytest.raises(InvalidRequestError, match="no picture to write the prompt from") as refused:
        resolve(studio, prompt_mode="automatic")
    assert refused.value.field == "prompt_mode"
    assert not asked


@pytest.mark.parametrize(("side", "resolution"), [(64, 256), (512, 512), (600, 576), (1000, 1024), (2048, 1024)])
def test_a_network_looks_at_the_size_that_is_wanted(side, resolution):
    row = load_registry().annotators["softedge_hed"]
    question = Question(asset="a", annotator=row.name, size=(2048, side))
    assert row.complete(fitting(row, question))["resolution"] == resolution
    mine = Question(asset="a", annotator=row.name, size=(2048, side), options={"resolution": 320})
    assert row.complete(fitting(row, mine))["resolution"] == 320


def test_the_size_of_a_map_has_bounds(studio, asked, photo):  # noqa: F811
    made = studio.annotate(Question(asset=photo, annotator="canny", size=(64, 2048)), LOCAL_USER)
    assert studio.assets.open_image(made.map).size == (64, 2048)
    for size in ((63, 64), (64, 2049)):
        with pytest.raises(InvalidRequestError, match="size is"):
            Question(asset=photo, annotator="canny", size=size)
