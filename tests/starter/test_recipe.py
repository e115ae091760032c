"""The whole recipe in miniature: every part runs, leaves its files, and the pack can be opened."""

import json

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionPipeline
from PIL import Image

from studio.control.reader import load_reader, read
from studio.library.cache import Cache
from studio.library.entry import entries_of
from studio.library.roots import Place
from studio.library.scan import scan
from studio.settings import load_settings
from studio.starter.annotator import CLASSES, train_annotator
from studio.starter.clip import train_clip
from studio.starter.control import train_control, train_t2i_adapter
from studio.starter.data import Scenes, render_scenes
from studio.starter.judge import load_judge, train_judge
from studio.starter.pack import export
from studio.starter.reference import train_ip_adapter
from studio.starter.render import SEGMENTS
from studio.starter.text import pretrain_text
from studio.starter.tokenizer import make_tokenizer
from studio.starter.unet import train_unet
from studio.starter.vae import encode_scenes, train_vae
from studio.training.loop import Plan

TINY = Plan(learning_rate=1e-3, batch=2, samples=4, warmup=1)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    work = tmp_path_factory.mktemp("starter")
    for name, seed in (("train", 0), ("held-out", 500)):
        render_scenes(work / name, 6, seed, processes=1)
    make_tokenizer(work / "tokenizer")
    train_vae(work, TINY)
    for name in ("train", "held-out"):
        encode_scenes(work, name)
    for part in (pretrain_text, train_judge, train_unet, train_control, train_annotator, train_clip, train_ip_adapter):
        part(work, TINY)
    for kind in ("edges", "depth", "segments"):
        train_control(work, TINY, kind)
    train_t2i_adapter(work, TINY, "scribble")
    export(work, work / "pack")
    return work


def test_scenes_come_back_as_they_were_rendered(work):
    scenes = Scenes.open(work / "train")
    assert len(scenes) == 6
    assert scenes.images.shape == (6, 128, 128, 3)
    assert all(len(captions) == 4 for captions in scenes.captions)


def test_latents_have_unit_spread(work):
    latents = np.load(work / "held-out" / "latents.npy").astype(np.float32)
    assert latents.shape == (6, 4, 16, 16)
    assert latents.std() == pytest.approx(1.0, abs=0.1)


def test_the_pack_is_a_diffusers_pipeline_with_a_controlnet_and_a_judge(work):
    pipeline = StableDiffusionPipeline.from_pretrained(work / "pack" / "desk", local_files_only=True)
    control = ControlNetModel.from_pretrained(work / "pack" / "controlnet-scribble", local_files_only=True)
    assert control.config.cross_attention_dim == pipeline.unet.config.cross_attention_dim == 192
    assert pipeline.text_encoder.config.eos_token_id == pipeline.tokenizer.eos_token_id
    assert pipeline.tokenizer.pad_token_id == pipeline.tokenizer.eos_token_id
    load_judge(work / "pack" / "judge.safetensors")
    card = json.loads((work / "pack" / "desk" / "card.json").read_text())
    assert (card["native_size"], card["prediction_type"]) == (128, "epsilon")


@pytest.fixture(scope="module")
def library(work):
    """The pack as the studio lists it."""
    settings = load_settings(work / "data")
    settings.paths.create()
    cache = Cache(settings.paths.library_db)
    scan(cache, [Place(work / "pack", "", "starter", files=False)])
    return {entry.name: entry for entry in entries_of(cache.rows([work / "pack"]), {})}


@pytest.mark.parametrize(
    ("name", "kind", "control_kind"),
    [
        ("starter-desk", "checkpoint", ""),
        ("controlnet-scribble", "controlnet", "scribble"),
        ("controlnet-segments", "controlnet", "segments"),
        ("t2i-adapter-scribble", "t2i_adapter", "scribble"),
        ("ip-adapter", "ip_adapter", ""),
        ("clip", "image_encoder", ""),
    ],
)
def test_every_part_of_the_pack_is_listed_as_what_it_is(library, name, kind, control_kind):
    found = library[name]
    assert (found.kind, found.control_kind, found.usable, found.reason) == (kind, control_kind, True, "")
    assert found.base == library["starter-desk"].base


def test_the_reference_adapter_reads_the_packs_own_clip(library):
    adapter, clip = library["ip-adapter"], library["clip"]
    assert adapter.features[0] == clip.features[0] == 192


def test_the_annotator_reads_a_picture_of_any_size(work):
    reader = load_reader(work / "pack" / "annotator.safetensors", CLASSES)
    found = read(reader, Image.new("RGB", (200, 150), "red"), SEGMENTS["person"])
    assert found.depth.shape == found.segments.shape == (150, 200)
    assert 0 <= found.depth.min() <= found.depth.max() <= 1
    assert found.segments.max() < CLASSES


def test_tokenizers_for_older_readers_are_the_same(work):
    folder = work / "pack" / "desk" / "tokenizer"
    whole = json.loads((folder / "tokenizer.json").read_text())["model"]
    assert json.loads((folder / "vocab.json").read_text()) == whole["vocab"]
    assert (folder / "merges.txt").read_text().startswith("#version")


def test_a_new_export_replaces_the_old_one_whole(work):
    (work / "pack" / "desk" / "stray").touch()
    export(work, work / "pack")
    assert not (work / "pack" / "desk" / "stray").exists()
    assert not list((work / "pack").glob("*.part"))


def test_training_changed_the_weights(work):
    state = torch.load(work / "runs" / "control" / "state.pt", weights_only=True)
    assert state["progress"]["samples"] == 4
    assert any(value.abs().sum() > 0 for key, value in state["module"].items() if "controlnet_mid_block" in key)
