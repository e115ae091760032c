"""The pack that ships, held to its bars on fewer scenes than `python -m studio.starter judge` uses."""

import json

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from studio.settings import BUILTIN
from studio.starter.captions import words
from studio.starter.judge import load_judge, score
from studio.starter.measure import draw, follow, set_exam
from studio.starter.pack import base_name
from studio.starter.vae import psnr, reconstruct, to_tensor

PACK = BUILTIN / "assets" / "starter"


@pytest.fixture(scope="module")
def exam():
    return set_exam(24)


@pytest.fixture(scope="module")
def judge():
    return load_judge(PACK / "judge.safetensors")


def specs(exam):
    return [scene.spec for scene in exam.scenes]


def test_the_base_is_named_by_its_configuration():
    card = json.loads((PACK / "desk" / "card.json").read_text())
    parts = [
        kind.from_pretrained(PACK / "desk" / name, local_files_only=True)
        for kind, name in ((UNet2DConditionModel, "unet"), (AutoencoderKL, "vae"), (CLIPTextModel, "text_encoder"))
    ]
    assert card["base"] == base_name(*parts)
    control = json.loads((PACK / "controlnet-scribble" / "card.json").read_text())
    assert control["base"] == card["base"]


def test_every_word_of_the_world_is_one_token():
    tokenizer = CLIPTokenizer.from_pretrained(PACK / "desk" / "tokenizer", local_files_only=True)
    known = json.loads((PACK / "desk" / "card.json").read_text())["known_words"]
    assert known == words()
    assert all(len(tokenizer(word, add_special_tokens=False).input_ids) == 1 for word in known)


def test_no_file_is_larger_than_a_shard_may_be():
    sizes = {file.name: file.stat().st_size for file in PACK.rglob("*") if file.is_file()}
    assert max(sizes.values()) <= 15_000_000
    assert sum(sizes.values()) <= 110_000_000


def test_the_judge_knows_true_scenes_and_is_no_fool(exam, judge):
    images, told = exam.images, specs(exam)
    right, wrong = score(judge, images, told), score(judge, images, told[1:] + told[:1])
    assert right["object"] > 0.9
    assert right["background"] > 0.9
    assert right["object_color"] > 0.85
    assert wrong["object_color"] < 0.2


def test_the_autoencoder_keeps_pictures(exam):
    vae = AutoencoderKL.from_pretrained(PACK / "desk" / "vae", dtype=torch.float32, local_files_only=True)
    pictures = to_tensor(exam.images)
    latents, again = reconstruct(vae, pictures)
    assert psnr(again, pictures) > 27
    assert (latents * vae.config.scaling_factor).std().item() == pytest.approx(1.0, abs=0.15)


@pytest.mark.slow
def test_pictures_obey_words_and_strokes(exam, judge):
    free, drawn = draw(PACK, exam, None), draw(PACK, exam, "scribble")
    figures, controlled = score(judge, free, specs(exam)), score(judge, drawn, specs(exam))
    assert figures["background"] > 0.8
    assert figures["object"] > 0.5
    assert figures["object_color"] > 0.35
    assert controlled["side"] > 0.85
    assert follow(drawn, exam)["edge_f1"] > follow(free, exam)["edge_f1"] + 0.15
