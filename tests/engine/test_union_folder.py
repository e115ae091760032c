"""A union ControlNet as diffusers saves it: a folder that the library finds, and the engine makes pictures with."""

import json

import pytest
import torch
from PIL import Image

from studio.engine.generate import Engine
from studio.engine.store import Store
from studio.library.index import Library
from studio.params import ControlUnit, GenerationRequest
from studio.registry import load_registry
from studio.resolve import Resolver
from studio.settings import load_settings
from tests import tiny
from tests.engine.conftest import house

MAP = "a" * 64


@pytest.fixture
def library(pipe, tmp_path):
    settings = load_settings(tmp_path)
    settings.paths.create()
    folders = {"checkpoints": ("tiny", pipe), "controlnet": ("union_promax", tiny.tiny_union(pipe.unet))}
    for place, (name, model) in folders.items():
        model.save_pretrained(settings.paths.models / place / name)
        card = {"name": name, "base": "tiny"} | ({"native_size": tiny.SIZE} if place == "checkpoints" else {})
        (settings.paths.models / place / name / "card.json").write_text(json.dumps(card))
    return Library(settings)


@pytest.fixture
def make(library):
    def open_image(_asset: str) -> Image.Image:
        return house()

    resolver = Resolver(library, load_registry(), lambda _: True, open_image)
    store = Store(torch.device("cpu"), torch.float32, "sdpa")
    engine = Engine(store=store, schedulers=load_registry().schedulers, load_image=open_image)

    def made(*kinds):
        request = GenerationRequest(
            prompt="a cat",
            checkpoint="tiny",
            width=tiny.SIZE * 2,
            height=tiny.SIZE * 2,
            num_inference_steps=2,
            seed=3,
            controls=tuple(ControlUnit(kind=kind, map=MAP) for kind in kinds),
        )
        params, _ = resolver.resolve(request)
        assert {unit.model for unit in params.controls} <= {"union_promax"}
        return engine.generate(params, library.locate(params)).pictures[0]

    made.store = store
    return made


def test_a_folder_is_found_as_what_it_is(library):
    entry = library.find("union_promax", "controlnet")
    assert (entry.usable, entry.control_kind, entry.base) == (True, "union", "tiny")


def test_its_weights_are_loaded_whole(library, make, pipe):
    loaded = make.store.control(library.location(library.find("union_promax", "controlnet")))
    saved = tiny.tiny_union(pipe.unet).state_dict()
    assert loaded.state_dict().keys() == saved.keys()
    assert all(torch.equal(tensor, saved[name]) for name, tensor in loaded.state_dict().items())


def test_one_folder_follows_maps_of_several_kinds_each_in_its_way(make):
    plain, depth, edges, both = make(), make("depth"), make("edges"), make("depth", "edges")
    pictures = [picture.tobytes() for picture in (plain, depth, edges, both)]
    assert len(set(pictures)) == 4
    assert make("depth").tobytes() == pictures[1]
