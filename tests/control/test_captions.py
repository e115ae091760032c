"""Pictures in words: BLIP with random weights in the layout of its repository, and the pack's small network."""

import inspect

import numpy as np
import pytest
import torch

from studio.annotators import register_annotators
from studio.control import blip, starter
from studio.control.reader import Reading
from studio.control.weights import Weights
from studio.errors import ModelNotFoundError
from studio.hookspecs import CAPTION
from studio.library.annotators import AnnotatorFiles
from studio.registry import find_annotator, load_registry
from tests.control import networks
from tests.control.pictures import MODES, noise
from tests.control.readers import save_reader

BLIP, STARTER = (row for row in register_annotators() if row.kind == CAPTION)


@pytest.fixture
def weights(tmp_path):
    return Weights(AnnotatorFiles((tmp_path,)))


@pytest.fixture
def with_blip(tmp_path, weights):
    torch.manual_seed(1)
    networks.blip(tmp_path)
    return weights


def test_blip_says_the_same_of_the_same_picture_in_words_that_it_knows(with_blip):
    said = blip.annotate(noise(), weights=with_blip)
    assert said == blip.annotate(noise(), weights=Weights(with_blip.files))
    assert set(said.split()) <= set("a red green house tree boat under the sky".split())


def test_blip_takes_pictures_of_every_mode_and_size(with_blip):
    for mode in MODES:
        assert isinstance(blip.annotate(noise((33, 20), mode), weights=with_blip), str)


def test_blips_sentence_ends_at_the_length_that_is_asked_for(with_blip):
    short, long = (blip.annotate(noise(), weights=with_blip, longest=longest) for longest in (8, 64))
    assert len(short.split()) <= 8
    assert long.startswith(short)
    parameters = inspect.signature(blip.annotate).parameters
    assert BLIP.complete({}) == {"longest": parameters["longest"].default}
    for longest in (7, 65, float("nan")):
        with pytest.raises(ValueError, match="not between 8 and 64"):
            blip.annotate(noise(), weights=with_blip, longest=longest)


def test_blip_that_is_cut_short_is_told(with_blip, tmp_path):
    file = tmp_path / blip.FOLDER / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ModelNotFoundError, match="is damaged, or holds something else"):
        blip.annotate(noise(), weights=with_blip)


def test_blip_speaks_where_it_is_there_else_the_packs_network(weights, tmp_path):
    save_reader(tmp_path)
    assert find_annotator(load_registry(), CAPTION, weights.files.ready) == STARTER
    networks.blip(tmp_path)
    assert find_annotator(load_registry(), CAPTION, weights.files.ready) == BLIP


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ({"sky": 60, "ground": 20, "house": 12, "tree": 8}, "a house and a tree"),
        ({"person": 10, "house": 20, "tree": 30, "nothing": 40}, "a tree, a house and a person"),
        ({"nothing": 95, "fish": 5}, "a fish"),
        ({"sky": 70, "ground": 30}, "sky and ground"),
        ({"nothing": 100}, ""),
    ],
)
def test_the_packs_network_names_what_stands_in_the_picture_largest_first(monkeypatch, weights, shares, said):
    row = np.repeat([starter.CLASSES.index(name) for name in shares], list(shares.values())).astype(np.uint8)
    reading = Reading(depth=np.zeros((4, 100), np.float32), segments=np.tile(row, (4, 1)), people=[])
    monkeypatch.setattr(starter, "_read", lambda image, weights: reading)
    assert starter.caption(noise(), weights=weights) == said


def test_the_packs_network_writes_words_of_any_picture(weights, tmp_path):
    save_reader(tmp_path)
    assert "person" in starter.caption(noise((33, 20)), weights=weights)
