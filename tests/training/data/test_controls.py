import numpy as np
import pytest
import torch
from PIL import ImageOps

from studio.control.weights import Weights
from studio.errors import InvalidRequestError
from studio.library.annotators import AnnotatorFiles
from studio.registry import load_registry
from studio.training.data.maps import annotator
from tests.datasets.kit import fill, picture
from tests.training.data.kit import RESOLUTION, batches, params

CONTROL = {"method": "controlnet", "control_kind": "edges", "annotator": "canny"}
SIGHT = {"method": "ip_adapter"}


def canny():
    return annotator(params(**CONTROL), load_registry(), Weights(AnnotatorFiles(())))


def see(image):
    return torch.tensor(np.asarray(image.resize((2, 2)), dtype=np.float32)).reshape(1, -1) + 1


@pytest.fixture
def folder(tmp_path):
    return fill(tmp_path / "set", 4, size=(64, 64))


def test_maps_are_drawn_of_what_is_seen(folder, tmp_path):
    data = batches(folder, tmp_path / "cache", {"annotate": canny()}, **CONTROL)
    batch = data.at(0)
    assert batch.maps.shape == (1, 3, RESOLUTION, RESOLUTION)
    assert set(batch.maps.unique().tolist()) == {0.0, 1.0}
    shot = next(one for one in data.pictures if one.name == batch.pictures[0])
    wanted = np.asarray(canny()(data._image(shot, data._view(shot))))
    assert np.array_equal(np.asarray(batch.maps[0]).transpose(1, 2, 0) * 255, wanted)


def test_the_map_of_a_mirrored_picture_is_drawn_of_that(folder, tmp_path):
    data = batches(folder, tmp_path / "cache", {"annotate": canny()}, flip=True, **CONTROL)
    shot = data.pictures[0]
    view = list(data._views(shot))[1]
    wanted = np.asarray(canny()(data._image(shot, view)))
    assert np.array_equal(np.asarray(data._map(shot, view)).transpose(1, 2, 0) * 255, wanted)


def test_given_maps_that_tell_left_from_right_are_not_mirrored(folder, tmp_path):
    for n in range(4):
        picture(n, (64, 64)).save(folder / f"{n}-map.png")
    with pytest.raises(InvalidRequestError) as refused:
        batches(folder, tmp_path / "cache", flip=True, **{**CONTROL, "control_kind": "pose"})
    assert refused.value.field == "flip"
    edges = batches(folder, tmp_path / "cache", flip=True, **CONTROL)
    plain, mirrored = (edges._map(edges.pictures[0], view) for view in edges._views(edges.pictures[0]))
    assert torch.equal(plain.flip(-1), mirrored)


def test_maps_are_drawn_once(folder, tmp_path):
    calls = []

    def annotate(image):
        calls.append(image.size)
        return ImageOps.invert(image)

    data = batches(folder, tmp_path / "cache", {"annotate": annotate}, **CONTROL)
    data.prepare()
    assert calls == [(RESOLUTION, RESOLUTION)] * 4
    assert [data.at(index) for index in range(8)]
    assert len(calls) == 4


def test_maps_beside_the_pictures_need_no_annotator(folder, tmp_path):
    (folder / "map").mkdir()
    for n in range(4):
        ImageOps.invert(picture(n, (64, 64))).save(folder / "map" / f"{n}.png")
    data = batches(folder, tmp_path / "cache", **CONTROL)
    batch = data.at(0)
    shot = next(one for one in data.pictures if one.name == batch.pictures[0])
    seen = np.asarray(data._image(shot, data._view(shot)), np.float32)
    assert np.abs(255 - seen - np.asarray(batch.maps[0]).transpose(1, 2, 0) * 255).mean() < 6


def test_a_picture_without_its_map_is_named(folder, tmp_path):
    picture(0, (64, 64)).save(folder / "0-map.png")
    with pytest.raises(InvalidRequestError, match=r"3 pictures have no map beside them, .\.png first"):
        batches(folder, tmp_path / "cache", **CONTROL)


@pytest.mark.parametrize("name", ["blip", "starter_caption", "nothing", "depth_anything"])
def test_what_draws_no_maps_is_refused(name):
    with pytest.raises(InvalidRequestError) as refused:
        annotator(params(**{**CONTROL, "annotator": name}), load_registry(), Weights(AnnotatorFiles(())))
    assert refused.value.field == "annotator"


def test_references_are_seen_once_and_dropped_as_often_as_they_should_be(folder, tmp_path):
    calls = []

    def counted(image):
        calls.append(image.size)
        return see(image)

    data = batches(folder, tmp_path / "cache", {"see": counted, "encoder": "tiny"}, **SIGHT)
    made = [data.at(index) for index in range(600)]
    assert len(calls) == 4
    assert made[0].features.shape == (1, 12)
    blind = [not batch.features.any() for batch in made]
    wordless = [batch.captions[0] == "" for batch in made]
    assert np.mean(blind) == pytest.approx(0.1, abs=0.04)
    assert np.mean(wordless) == pytest.approx(0.05, abs=0.03)
    assert all(blind[n] for n in range(600) if wordless[n])
    assert all(batch.features.any() for batch in data.shown(4))


def test_an_ip_adapter_without_an_encoder_is_refused(folder, tmp_path):
    with pytest.raises(InvalidRequestError, match="image encoder"):
        batches(folder, tmp_path / "cache", **SIGHT)
