"""What a run writes is whole or not there, in layouts that others read; pickles are plain."""

import os
from functools import partial
from pathlib import Path

import pytest
import torch

from studio.engine.configs import CLASSES
from studio.engine.layouts import PREFIXES, places_of
from studio.engine.parts import find_part
from studio.engine.weights import open_weights
from studio.errors import StorageError
from studio.library.identify import identify
from studio.library.rules.subject import STARTER
from studio.training.exporting import Folder, SingleFile, write_export
from studio.training.method import Export
from tests.engine import narrow

BASE = "starter-0000abcd"


@pytest.mark.parametrize("base", ["sd1", "sd2", "sdxl"])
def test_a_single_file_has_every_tensor_at_its_place(base, tmp_path):
    parts = narrow.parts(base)
    tensors = {f"{part}.{name}": tensor for part, held in parts.items() for name, tensor in held.items()}
    export = SingleFile("checkpoint", "single_file", ".safetensors", tensors, {}, base, "v_prediction")
    weights = open_weights(write_export(export, tmp_path, "thing", {"modelspec.title": "thing"}))
    assert weights.metadata["modelspec.title"] == "thing"
    assert ("v_pred" in weights.shapes) == (base == "sdxl")
    for part, held in parts.items():
        prefix, spelling = PREFIXES[base][part]
        find = partial(places_of, base=base, spelling=spelling, prefix=prefix)
        found = find_part(CLASSES[part], narrow.configs(base)[part], weights, part, find)
        assert all(torch.equal(found.tensor(name), tensor) for name, tensor in held.items())


def test_pickles_are_read_without_code_and_say_what_they_are_for(tmp_path):
    vectors = {"string_to_param.*": torch.randn(2, 24)}
    words = Export("embedding", "a1111", ".pt", vectors, {"name": "ohwx", STARTER: BASE})
    layers = {"24.0.linear.0.weight": torch.randn(24, 24), "24.0.linear.0.bias": torch.zeros(24)}
    layers |= {name.replace("24.0.", "24.1."): tensor for name, tensor in layers.items()}
    networks = Export("hypernetwork", "a1111", ".pt", layers, {"layer_structure": [1, 1], STARTER: BASE})
    for export in (words, networks):
        path = write_export(export, tmp_path, export.kind)
        found, held = identify(path), torch.load(path, weights_only=True)
        assert (found.kind, found.base, found.usable) == (export.kind, BASE, True)
        for name, tensor in export.tensors.items():
            assert torch.equal(open_weights(path).tensor(name), tensor)
        assert held.keys() >= ({"string_to_token", "name"} if export is words else {24, "layer_structure"})


def exports(origin):
    tensors = {"a": torch.randn(2, 2)}
    files = {"config.json": {"width": 2}}
    return [
        Export("lora", "kohya", ".safetensors", tensors, {}),
        Export("embedding", "a1111", ".pt", {"string_to_param.*": tensors["a"]}, {}),
        Folder("controlnet", "diffusers", "", {"model/a": tensors["a"]}, {}, files, origin),
    ]


@pytest.mark.parametrize("number", range(3))
def test_a_write_that_fails_leaves_the_older_file_whole(number, tmp_path, monkeypatch):
    export = exports(None)[number]
    path = write_export(export, tmp_path, "thing")
    before = {file: file.read_bytes() for file in [path, *path.rglob("*")] if file.is_file()}

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        write_export(export, tmp_path, "thing")
    assert {file: file.read_bytes() for file in [path, *path.rglob("*")] if file.is_file()} == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_folder_takes_the_rest_from_its_origin(tmp_path):
    origin = tmp_path / "origin"
    for name in ("unet/config.json", "unet/model.bin", "unet/model.safetensors", "vae/model.safetensors", "card.json"):
        (origin / name).parent.mkdir(parents=True, exist_ok=True)
        (origin / name).write_text('{"name": "old", "base": "sd1"}')
    export = Folder("checkpoint", "diffusers", "", {"unet/model/a": torch.ones(1)}, {}, {}, origin)
    path = write_export(export, tmp_path, "thing")
    found = sorted(file.relative_to(path) for file in path.rglob("*") if file.is_file())
    assert found == [
        Path("card.json"),
        Path("unet/config.json"),
        Path("unet/model.safetensors"),
        Path("vae/model.safetensors"),
    ]
    assert '"name": "thing"' in (path / "card.json").read_text()
    assert torch.equal(open_weights(path / "unet/model.safetensors").tensor("a"), torch.ones(1))
