"""Which layers a LoRA changes, at the sizes of the base models, and what kohya's programs call them."""

import re
from functools import cache

import pytest
import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from studio.adapters.writing import kohya_names
from studio.engine.configs import CLASSES, CONFIGS
from studio.engine.stack import Adapted
from studio.training.methods.factors import places_of
from tests.training.methods import kit

TEXT = {"CLIPTextModel": CLIPTextModel, "CLIPTextModelWithProjection": CLIPTextModelWithProjection}


@cache
def adapted(base):
    """A base model without numbers."""
    found = {}
    with torch.device("meta"):
        for name, config in CONFIGS[base].items():
            if name == "unet":
                found[name] = Adapted(name, UNet2DConditionModel(**config), None)
            elif name != "vae":
                found[name] = Adapted(name, TEXT[CLASSES[name]](CLIPTextConfig(**config)), None)
    return found


def stems(base, **changed):
    targets = {n: tuple(p.shape) for one in adapted(base).values() for n, (_, p) in one.parameters().items()}
    names = kohya_names(targets, base)
    return [names[place.name] for place in places_of(adapted(base), kit.params(**changed))]


@pytest.mark.parametrize(
    ("base", "unet", "text"),
    [("sd1", 192, {"lora_te": 72}), ("sdxl", 722, {"lora_te1": 72, "lora_te2": 192}), ("sd2", 192, {"lora_te": 138})],
)
def test_as_many_layers_learn_as_in_kohyas_programs(base, unet, text):
    found = stems(base, train_text_encoder=True)
    assert len(set(found)) == len(found)
    assert sum(name.startswith("lora_unet_") for name in found) == unet
    for start, count in text.items():
        assert sum(name.startswith(f"{start}_text_model_encoder_layers_") for name in found) == count
    assert len(found) == unet + sum(text.values())


def sgm(path):
    """A layer of SDXL's UNet by the table of names that is published, of what a LoRA with convolutions changes."""
    rules = (
        (r"down_blocks\.(\d)\.resnets\.(\d)", lambda i, j: f"input_blocks.{3 * i + j + 1}.0"),
        (r"down_blocks\.(\d)\.attentions\.(\d)", lambda i, j: f"input_blocks.{3 * i + j + 1}.1"),
        (r"down_blocks\.(\d)\.downsamplers\.(0)\.conv", lambda i, _j: f"input_blocks.{3 * i + 3}.0.op"),
        (r"mid_block\.(resnets|attentions)\.(\d)", lambda kind, j: f"middle_block.{1 if 'a' in str(kind) else 2 * j}"),
        (r"up_blocks\.(\d)\.resnets\.(\d)", lambda i, j: f"output_blocks.{3 * i + j}.0"),
        (r"up_blocks\.(\d)\.attentions\.(\d)", lambda i, j: f"output_blocks.{3 * i + j}.1"),
        (r"up_blocks\.(\d)\.upsamplers\.(0)\.conv", lambda i, _j: f"output_blocks.{3 * i + 2}.2.conv"),
    )
    for pattern, name in rules:
        if found := re.match(pattern, path):
            block = name(*(int(one) if one.isdigit() else one for one in found.groups()))
            rest = path[found.end() :].replace("conv1", "in_layers.2").replace("conv2", "out_layers.3")
            return f"lora_unet_{block}{rest}".replace(".", "_")
    raise AssertionError(path)


def test_sdxls_layers_have_the_names_of_its_authors():
    places = places_of(adapted("sdxl"), kit.params(conv_rank=4))
    expected = [sgm(place.name.removeprefix("unet.")) for place in places]
    assert stems("sdxl", conv_rank=4) == expected
    assert len(expected) > 722


def test_convolutions_learn_only_when_asked():
    plain, conv = stems("sd1"), stems("sd1", conv_rank=4)
    more = set(conv) - set(plain)
    assert set(plain) < set(conv)
    kinds = {re.search(r"(conv\d?)$", name)[1] for name in more}
    assert kinds == {"conv1", "conv2", "conv"}
    assert len(more) == 2 * 22 + 3 + 3
