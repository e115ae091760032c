"""The whole recipe in miniature: every part runs, leaves its files, and the pack can be opened."""

import json

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionPipeline

from studio.starter.control import train_control
from studio.starter.data import Scenes, render_scenes
from studio.starter.judge import load_judge, train_judge
from studio.starter.pack import export
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
    for part in (pretrain_text, train_judge, train_unet, train_control):
        part(work, TINY)
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
