import pytest

from studio.datasets.folder import Picture
from studio.training.data.shots import Shot, caption_of
from tests.training.data.kit import params


@pytest.mark.parametrize(
    ("caption", "wanted"),
    [
        (None, "a sks cup"),
        ("a sks cup on a table", "a sks cup on a table"),
        ("a cup on a table", "a sks cup on a table"),
        ("a cupboard", "sks a cupboard"),
        ("something blue", "sks something blue"),
        ("photo of {trigger}, a {class}", "photo of sks, a cup"),
        ("two\nlines  of SKS", "two lines of SKS"),
        ("eine schöne cup 😀", "eine schöne sks cup 😀"),
        ("cup, blue", "sks cup, blue"),
    ],
)
def test_a_caption_has_the_trigger_where_it_belongs(tmp_path, caption, wanted):
    shot = Shot(Picture("a.png", tmp_path), "", (8, 8), caption)
    assert caption_of(shot, params()) == wanted


@pytest.mark.parametrize(
    ("more", "caption", "wanted"),
    [
        ({"trigger": ""}, "a cup", "a cup"),
        ({"trigger": "", "class_word": ""}, None, "a"),
        ({"subject": "style"}, "a cup", "sks a cup"),
        ({"class_word": "coffee cup"}, "my coffee cup here", "my sks coffee cup here"),
        ({"prompt_template": "{class} in {trigger} style"}, None, "cup in sks style"),
    ],
)
def test_settings_say_how_it_is_called(tmp_path, more, caption, wanted):
    assert caption_of(Shot(Picture("a.png", tmp_path), "", (8, 8), caption), params(**more)) == wanted
