from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from studio.datasets.buckets import cut
from studio.errors import InvalidRequestError
from studio.training.data.cache import TensorCache
from studio.training.data.cutting import View, to_values
from tests.datasets.kit import fill, picture
from tests.tiny import FACTOR
from tests.training.data.kit import RESOLUTION, batches

SIZES = [(40, 40), (60, 40), (40, 60), (64, 40), (200, 30), (33, 32), (41, 40), (30, 200), (40, 40), (90, 60)]


@pytest.fixture
def mixed(tmp_path):
    """Ten pictures of several ratios."""
    folder = tmp_path / "set"
    folder.mkdir()
    for seed, size in enumerate(SIZES):
        picture(seed, size).save(folder / f"{seed}.png")
    return folder


def same(first, second) -> bool:
    """Whether two batches are equal bit for bit."""
    for name, value in vars(first).items():
        other = getattr(second, name)
        if not (torch.equal(value, other) if torch.is_tensor(value) else value == other):
            return False
    return True


@pytest.mark.parametrize("batch", [1, 2, 4])
@pytest.mark.parametrize("crop", ["bucket", "center", "random"])
def test_a_cycle_shows_every_picture_equally_often_in_batches_of_one_size(mixed, tmp_path, batch, crop):
    data = batches(mixed, tmp_path / "cache", batch=batch, crop=crop)
    for cycle in range(2):
        made = [data.at(cycle * len(SIZES) + index) for index in range(len(SIZES))]
        assert Counter(name for one in made for name in one.pictures) == {f"{n}.png": batch for n in range(len(SIZES))}
        assert {len(one.latents) for one in made} == {batch}


def test_no_picture_is_shown_again_before_all_of_its_bucket_were(tmp_path):
    data = batches(fill(tmp_path / "set", 6), tmp_path / "cache", batch=2)
    seen = [name for index in range(9) for name in data.at(index).pictures]
    epochs = [seen[at : at + 6] for at in range(0, 18, 6)]
    assert all(len(set(epoch)) == 6 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_two_with_the_same_settings_give_the_same_in_any_order(mixed, tmp_path):
    more = {"batch": 2, "flip": True, "crop": "random", "caption_dropout": 0.3, "seed": 5}
    first = batches(mixed, tmp_path / "cache", **more)
    second = batches(mixed, tmp_path / "other", **more)
    late = [second.at(index) for index in reversed(range(30))][::-1]
    assert all(same(first.at(index), one) for index, one in enumerate(late))


def test_another_seed_gives_another_order(mixed, tmp_path):
    first, second = (batches(mixed, tmp_path / "cache", seed=seed) for seed in (0, 1))
    assert [first.at(n).pictures for n in range(10)] != [second.at(n).pictures for n in range(10)]


def test_two_processes_at_one_picture_see_what_one_sees_at_two(tmp_path):
    folder = fill(tmp_path / "set", 5)
    more = {"flip": True, "caption_dropout": 0.3}
    one, two = (batches(folder, tmp_path / "cache", batch=size, **more) for size in (1, 2))
    for index in range(12):
        halves, whole = [one.at(2 * index), one.at(2 * index + 1)], two.at(index)
        assert torch.equal(torch.cat([half.latents for half in halves]), whole.latents)
        assert halves[0].captions + halves[1].captions == whole.captions


def test_the_names_of_files_change_nothing(mixed, tmp_path):
    first = batches(mixed, tmp_path / "cache")
    kept = [first.at(index).latents for index in range(10)]
    for number, file in enumerate(sorted(mixed.iterdir(), reverse=True)):
        file.rename(mixed / f"renamed {number}.png")
    again = batches(mixed, tmp_path / "cache")
    assert all(torch.equal(again.at(index).latents, one) for index, one in enumerate(kept))


@pytest.mark.parametrize("flip", [False, True])
def test_cached_latents_equal_live_ones_bit_for_bit(mixed, tmp_path, flip):
    data = batches(mixed, tmp_path / "cache", flip=flip)
    data.prepare()
    for shot in data.pictures:
        for view in data._views(shot):
            assert data.cache.has(("latents", data._vae_key, shot.content, view))
            assert torch.equal(batches(mixed, tmp_path / "cache").latents(shot, view), data._encoded(shot, view))


def test_everything_that_is_needed_was_prepared(mixed, tmp_path, monkeypatch):
    more = {"flip": True, "crop": "random", "masked": True, "held_out": 0.2}
    told = []
    data = batches(mixed, tmp_path / "cache", {"tell": lambda *args: told.append(args)}, **more)
    data.prepare()
    assert told[-1] == ("caching", told[-1][2], told[-1][2])
    monkeypatch.setattr("studio.training.data.batches.open_picture", None)
    monkeypatch.setattr("studio.engine.decoding.encode", None)
    assert [data.at(index) for index in range(20)]
    assert data.shown(99)
    assert data.held_out()


def test_a_damaged_cache_is_made_again(mixed, tmp_path):
    data = batches(mixed, tmp_path / "cache")
    wanted = data.at(0)
    for file in (tmp_path / "cache" / "tensors").rglob("*.safetensors"):
        file.write_bytes(b"broken")
    assert same(batches(mixed, tmp_path / "cache").at(0), wanted)


def test_what_is_held_in_memory_keeps_within_its_room(tmp_path):
    cache = TensorCache(tmp_path, room=64)
    made = [cache.tensor((n,), lambda n=n: torch.full((8,), float(n))) for n in range(5)]
    assert [len(cache._held), cache._bytes] == [2, 64]
    assert all(torch.equal(cache.tensor((n,), lambda: torch.zeros(8)), made[n]) for n in range(5))
    assert cache._bytes == 64


def test_a_mirrored_picture_is_the_mirror_image(tmp_path):
    image = picture(3, (90, 60))
    found = cut(image.size, RESOLUTION)
    plain, mirrored = (View(found, flip).seen(image, Image.Resampling.LANCZOS) for flip in (False, True))
    assert plain.size == found.size
    assert np.array_equal(np.asarray(plain)[:, ::-1], np.asarray(mirrored))
    assert View(found).sizes((90, 60)) == [60, 90, found.top, found.left, found.size[1], found.size[0]]


def test_what_is_seen_is_what_scaling_all_of_it_and_cutting_would_give():
    image = picture(3, (90, 60))
    found = cut(image.size, RESOLUTION, "center")
    whole = image.resize(found.scaled, Image.Resampling.BICUBIC).crop(found.box)
    apart = np.asarray(View(found).seen(image, Image.Resampling.BICUBIC), int) - np.asarray(whole, int)
    assert np.abs(apart).max() <= 2


def test_a_flip_and_a_drawn_place_come_as_often_as_they_should(tmp_path):
    data = batches(fill(tmp_path / "set", 4), tmp_path / "cache", flip=True, crop="random", caption_dropout=0.25)
    drawn = [data.order.chances(index)[0] for index in range(2000)]
    assert np.mean([one.flip for one in drawn]) == pytest.approx(0.5, abs=0.05)
    assert np.mean([one.wordless for one in drawn]) == pytest.approx(0.25, abs=0.04)
    assert Counter(one.place for one in drawn).keys() == {0, 0.25, 0.5, 0.75, 1}
    assert not any(one.blind for one in drawn)


def masked_set(tmp_path, mask):
    folder = fill(tmp_path / "set", 4, size=(64, 64))
    mask.save(folder / "0-masklabel.png")
    return folder


def test_a_mask_is_at_the_size_of_latents_and_zero_outside(tmp_path):
    mask = Image.new("L", (128, 128))
    mask.paste(255, (0, 0, 64, 128))
    data = batches(masked_set(tmp_path, mask), tmp_path / "cache", masked=True)
    found = {batch.pictures[0]: batch for batch in (data.at(index) for index in range(4))}
    side = RESOLUTION // FACTOR
    assert found["0.png"].mask.shape == (1, 1, side, side)
    assert torch.equal(found["0.png"].mask[0, 0, :, : side // 2], torch.ones(side, side // 2))
    assert not found["0.png"].mask[0, 0, :, side // 2 :].any()
    assert (found["1.png"].mask == 1).all()


def test_a_mirrored_mask_lies_on_its_mirrored_picture(tmp_path):
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 16, 64))
    data = batches(masked_set(tmp_path, mask), tmp_path / "cache", masked=True, flip=True)
    shot = next(one for one in data.pictures if one.name == "0.png")
    plain, mirrored = (data._mask(shot, view) for view in data._views(shot))
    assert torch.equal(plain.flip(-1), mirrored)
    assert not torch.equal(plain, mirrored)


def test_transparency_is_a_mask_and_white_without_masks(tmp_path):
    folder = fill(tmp_path / "set", 3, size=(64, 64))
    image = picture(0, (64, 64)).convert("RGBA")
    image.paste((9, 9, 9, 0), (0, 0, 32, 64))
    image.save(folder / "0.png")
    data = batches(folder, tmp_path / "cache", masked=True)
    shot = next(one for one in data.pictures if one.name == "0.png")
    view = data._view(shot)
    assert not data._mask(shot, view)[..., : RESOLUTION // FACTOR // 2].any()
    assert (to_values(data._image(shot, view))[..., : RESOLUTION // 2 - 4] == 1).all()


def test_without_masks_none_is_given(mixed, tmp_path):
    assert batches(mixed, tmp_path / "cache").at(0).mask is None


@pytest.mark.parametrize(
    ("count", "share", "held"), [(3, 0.5, 0), (4, 0.0, 0), (4, 0.01, 1), (10, 0.2, 2), (10, 0.5, 5)]
)
def test_some_are_held_out_but_never_all(tmp_path, count, share, held):
    data = batches(fill(tmp_path / "set", count), tmp_path / "cache", held_out=share)
    names = [name for batch in data.held_out() for name in batch.pictures]
    assert len(names) == held
    trained = {name for index in range(2 * count) for name in data.at(index).pictures}
    assert trained.isdisjoint(names)
    assert len(trained) == count - held


def test_copies_are_held_out_together(tmp_path):
    folder = fill(tmp_path / "set", 6)
    for n in range(6):
        (folder / f"copy {n}.png").write_bytes((folder / f"{n}.png").read_bytes())
    data = batches(folder, tmp_path / "cache", held_out=0.4)
    contents = [{shot.content for shot in shots} for shots in (data.pictures, data.held)]
    assert contents[0].isdisjoint(contents[1])
    assert len(data.pictures) + len(data.held) == 12


def test_what_is_measured_is_plain(mixed, tmp_path):
    data = batches(mixed, tmp_path / "cache", flip=True, crop="random", caption_dropout=1.0)
    shown = data.shown(4)
    assert sum(len(one.latents) for one in shown) == 4
    assert {caption for one in shown for caption in one.captions} == {"a sks cup"}
    assert len(data.images(3)) == 3
    assert data.images(1)[0].dtype == np.uint8


@pytest.mark.parametrize("make", [lambda folder: None, lambda folder: (folder / "a.png").write_bytes(b"no picture")])
def test_nothing_to_learn_from_is_refused(tmp_path, make):
    (tmp_path / "set").mkdir()
    make(tmp_path / "set")
    with pytest.raises(InvalidRequestError) as refused:
        batches(tmp_path / "set", tmp_path / "cache")
    assert refused.value.field == "dataset"


def test_one_picture_is_enough_and_broken_ones_are_left_out(tmp_path):
    folder = fill(tmp_path / "set", 1)
    (folder / "bad.png").write_bytes(b"no picture")
    data = batches(folder, tmp_path / "cache", batch=2)
    assert data.at(0).pictures == ("0.png", "0.png")
    assert [name for name, _ in data.skipped] == ["bad.png"]


def test_a_picture_as_thin_as_a_thread_is_cut_without_filling_memory(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    Image.new("RGB", (1, 8000), "red").save(folder / "a.png")
    assert batches(folder, tmp_path / "cache").at(0).latents.shape[2] == 64 // FACTOR


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_its_captions_are_all_that_its_batches_say(tmp_path, dropout):
    fill(tmp_path / "set", 5)
    (tmp_path / "set" / "0.txt").write_text("a green sks cup")
    data = batches(tmp_path / "set", tmp_path / "cache", caption_dropout=dropout, held_out=0.2, batch=2)
    made = [*(data.at(index) for index in range(20)), *data.shown(9), *data.held_out()]
    assert set(data.captions()) == {caption for one in made for caption in one.captions}
