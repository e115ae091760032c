import pytest
import torch
from PIL import Image, ImageDraw

from studio.engine.generate import Engine
from studio.engine.store import Store
from studio.registry import load_registry
from tests import tiny

torch.set_num_threads(1)  # on tensors this small, threads wait for each other and gain nothing


def house() -> Image.Image:
    image = Image.new("RGB", (tiny.SIZE, tiny.SIZE))
    ImageDraw.Draw(image).rectangle((8, 8, 24, 24), outline="white", width=2)
    return image


def mask() -> Image.Image:
    image = Image.new("L", (tiny.SIZE, tiny.SIZE))
    image.paste(255, (0, 0, tiny.SIZE // 2, tiny.SIZE))
    return image


def photo() -> Image.Image:
    return Image.linear_gradient("L").resize((tiny.SIZE, tiny.SIZE)).convert("RGB")


IMAGES = {"house": house, "mask": mask, "photo": photo}


@pytest.fixture(scope="session")
def pipe():
    return tiny.tiny_pipeline()


@pytest.fixture(scope="session")
def folder(pipe, tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    pipe.save_pretrained(root / "tiny")
    tiny.tiny_pipeline(seed=9).save_pretrained(root / "other")
    tiny.tiny_controlnet(pipe.unet).save_pretrained(root / "control")
    return root


@pytest.fixture(scope="session")
def models(folder):
    found = [
        tiny.location(folder / "tiny"),
        tiny.location(folder / "other"),
        tiny.location(folder / "control", "controlnet"),
    ]
    return {location.id: location for location in found}


@pytest.fixture
def engine():
    store = Store(torch.device("cpu"), torch.float32, "sdpa")
    return Engine(store=store, schedulers=load_registry().schedulers, load_image=lambda name: IMAGES[name]())
