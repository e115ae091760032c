import pytest
import torch
from PIL import Image

from studio.errors import InvalidRequestError
from studio.training import draws
from studio.training.step import Lesson, Manner, Stepper
from tests.datasets.kit import fill, picture
from tests.training.data.kit import batches
from tests.training.lesson import NOISE, Plain

PRIOR = {"prior_preservation": True, "class_pictures": 3, "checkpoint_id": "abc"}


@pytest.fixture
def folder(tmp_path):
    return fill(tmp_path / "set", 4)


class Painter:
    """Makes pictures of the class, and remembers which."""

    def __init__(self) -> None:
        self.made: list[tuple[str, int]] = []

    def __call__(self, prompt: str, seed: int) -> Image.Image:
        self.made.append((prompt, seed))
        return picture(100 + seed, (32, 32))


def with_class(folder, tmp_path, painter, **more):
    sources = {"class_pictures": tmp_path / "class", "make": painter}
    return batches(folder, tmp_path / "cache", sources, **{**PRIOR, **more})


def test_half_of_the_batch_is_of_the_class(folder, tmp_path):
    batch = with_class(folder, tmp_path, Painter(), batch=2, masked=True).at(0)
    assert batch.latents.shape[0] == batch.sizes.shape[0] == batch.mask.shape[0] == len(batch.captions) == 4
    assert batch.prior.tolist() == [False, False, True, True]
    assert batch.captions == ("a sks cup", "a sks cup", "a cup", "a cup")
    assert batch.mask[2:].all()


def test_what_they_were_asked_is_among_the_captions(folder, tmp_path):
    assert with_class(folder, tmp_path, Painter()).captions() == ("a sks cup", "a cup")


def test_rows_of_the_class_have_the_size_of_their_batch(tmp_path):
    folder = fill(tmp_path / "set", 4, size=(90, 60))
    batch = with_class(folder, tmp_path, Painter()).at(0)
    assert batch.latents.shape[2] != batch.latents.shape[3]
    assert batch.sizes[1].tolist()[4:] == batch.sizes[0].tolist()[4:]


def test_they_are_made_once_used_again_and_topped_up(folder, tmp_path):
    first, again, more = Painter(), Painter(), Painter()
    with_class(folder, tmp_path, first).prepare()
    assert first.made == [("a cup", 0), ("a cup", 1), ("a cup", 2)]
    with_class(folder, tmp_path, again, seed=9, name="other").at(0)
    assert again.made == []
    with_class(folder, tmp_path, more, class_pictures=5).at(0)
    assert more.made == [("a cup", 3), ("a cup", 4)]


def test_a_damaged_one_is_made_again(folder, tmp_path):
    with_class(folder, tmp_path, Painter()).prepare()
    next((tmp_path / "class").rglob("00001.png")).write_bytes(b"half")
    again = Painter()
    with_class(folder, tmp_path, again).at(0)
    assert again.made == [("a cup", 1)]


@pytest.mark.parametrize("more", [{"checkpoint_id": "other"}, {"class_prompt": "a mug"}, {"resolution": 64}])
def test_another_checkpoint_prompt_or_size_has_its_own(folder, tmp_path, more):
    with_class(folder, tmp_path, Painter()).prepare()
    again = Painter()
    with_class(folder, tmp_path, again, **more).at(0)
    assert len(again.made) == 3


def test_each_comes_once_before_one_comes_again(folder, tmp_path):
    data = with_class(folder, tmp_path, Painter(), batch=2)
    names = [name for index in range(6) for name in data.at(index).pictures[2:]]
    assert all(len(set(names[at : at + 3])) == 3 for at in range(0, 12, 3))


def test_measured_pictures_have_none_of_the_class(folder, tmp_path):
    data = with_class(folder, tmp_path, Painter())
    assert all(batch.prior is None for batch in data.shown(9))


def test_captions_of_the_class_are_never_dropped(folder, tmp_path):
    data = with_class(folder, tmp_path, Painter(), caption_dropout=1.0)
    assert data.at(0).captions == ("", "a cup")


@pytest.mark.parametrize(
    ("more", "field"), [({"class_pictures": 0}, "class_pictures"), ({"class_word": "", "trigger": "x"}, "class_word")]
)
def test_what_is_missing_for_it_is_said(folder, tmp_path, more, field):
    with pytest.raises(InvalidRequestError) as refused:
        with_class(folder, tmp_path, Painter(), **more)
    assert refused.value.field == field


def test_the_same_twice_is_equal_bit_for_bit(folder, tmp_path):
    first, second = (with_class(folder, tmp_path / name, Painter(), batch=2).at(3) for name in ("a", "b"))
    assert torch.equal(first.latents, second.latents)
    assert first.pictures == second.pictures


def test_no_two_rows_of_a_step_get_the_same_noise(folder, tmp_path, monkeypatch):
    data = with_class(folder, tmp_path, Painter(), batch=2, accumulation=2)
    drawn = []

    def draw(params, step, rows, batch, timesteps):
        drawn.extend(rows)
        return draws.draw(params, step, rows, batch, timesteps)

    monkeypatch.setattr("studio.training.step.draw", draw)
    Stepper(data.params, Lesson(Plain(), data, NOISE)).gradients(0, Manner())
    assert sorted(drawn) == list(range(8))


def test_a_prompt_with_choices_asks_each_picture_anew_and_captions_it_so(folder, tmp_path):
    painter = Painter()
    data = with_class(folder, tmp_path, painter, class_prompt="a {red|blue|} cup", class_pictures=12)
    data.prepare()
    asked = {prompt for prompt, _ in painter.made}
    assert asked == {"a red cup", "a blue cup", "a cup"}
    told = {data.at(index).captions[1] for index in range(12)}
    assert told == asked
