"""Whole files for the base models: every sort, in every spelling, with the names and shapes that real ones have."""

from functools import cache

import pytest
import torch

from studio.library.names import DIFFUSERS, LDM, clip_names, unet_names
from tests.adapters.held import read
from tests.library import headers

ENCODERS = {
    "sd1": (("text_encoder", 768, 12),),
    "sd2": (("text_encoder", 1024, 23),),
    "sdxl": (("text_encoder", 768, 12), ("text_encoder_2", 1280, 32)),
}
SORTS = {
    "lora": "LoRA",
    "dora": "DoRA",
    "peft": "LoRA",
    "bare": "LoRA",
    "default": "LoRA",
    "diffusers": "LoRA",
    "linear": "LoRA",
    "loha": "LoHa",
    "underscore": "LoRA",
    "lokr-whole": "LoKr",
    "lokr-both": "LoKr",
    "lokr": "LoKr",
    "set": "full",
    "oft": "OFT",
    "boft": "BOFT",
    **dict.fromkeys(("oft-diag", "oft-peft", "oft-named", "oft-shared"), "OFT"),
    **dict.fromkeys(("boft-diag", "boft-peft", "boft-named"), "BOFT"),
    "glora": "GLoRA",
}
STARTS = (
    ("lora_unet_", DIFFUSERS),
    ("lora_unet_", LDM),
    ("lycoris_", DIFFUSERS),
    ("unet.", DIFFUSERS),
    ("base_model.model.unet.", DIFFUSERS),
    ("base_model.model.", DIFFUSERS),
    ("diffusion_model.", LDM),
)


@cache
def targets(base):
    """Every parameter of a base model, with its shape."""
    found = {f"unet.{name}": shape for name, shape in unet_names(base, DIFFUSERS).items()}
    for part, width, layers in ENCODERS[base]:
        found |= {f"{part}.{name.removeprefix('text_model.')}": s for name, s in clip_names(width, layers).items()}
    return found


def hollow(shapes):
    """Tensors of these shapes without numbers, but for single numbers."""
    return {name: torch.empty(s, device="meta") if s else torch.tensor(2.0) for name, s in shapes.items()}


@pytest.mark.parametrize("sort", SORTS)
def test_a_file_of_each_sort_is_used_whole(sort):
    base = "sd1"
    found = read(hollow(headers.lora(base, sort)), targets(base))
    assert not found.unmatched
    assert found.algorithms == (SORTS[sort],)
    attentions = [name for name, shape in unet_names(base, DIFFUSERS).items() if "attn" in name and len(shape) == 2]
    assert [name.removeprefix("unet.") for name in found.deltas] == attentions


@pytest.mark.parametrize("base", ENCODERS)
@pytest.mark.parametrize(("start", "spelling"), STARTS)
def test_a_file_in_each_spelling_is_used_whole(base, start, spelling):
    found = read(hollow(headers.lora(base, start=start, spelling=spelling)), targets(base))
    assert not found.unmatched
    assert found.deltas.keys() == read(hollow(headers.lora(base)), targets(base)).deltas.keys()


@pytest.mark.parametrize("base", ENCODERS)
def test_text_encoders_kernels_norms_and_old_processors_are_found(base):
    for shapes, count in (
        (headers.text_lora(base), 2 * sum(layers for _, _, layers in ENCODERS[base])),
        (headers.kernels(base), len(headers.lora(base)) // 3 + 1),
        (headers.norms(base), len(headers.norms(base))),
        (headers.processors(base), len(headers.processors(base)) // 2),
    ):
        found = read(hollow(shapes), targets(base))
        assert not found.unmatched
        assert len(found.deltas) == count


@pytest.mark.parametrize("base", ENCODERS)
@pytest.mark.parametrize("other", ENCODERS)
def test_what_was_made_for_another_base_model_does_not_fit(base, other):
    shapes = headers.lora(base, texted=True)
    found = read(hollow(shapes), targets(other))
    assert found.matched + len(found.unmatched) == len(shapes)
    assert (found.matched == len(shapes)) is (base == other)


def test_one_change_in_each_spelling_is_one_change():
    """With numbers: the ways to say which factor is which, too."""
    down, up = torch.randn(2, 320), torch.randn(320, 2)
    path = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"
    flat, ldm = f"{path}.to_out.0".replace(".", "_"), "input_blocks_1_1_transformer_blocks_0_attn1_to_out_0"
    spelled = [
        (f"lora_unet_{flat}.lora_down.weight", f"lora_unet_{flat}.lora_up.weight"),
        (f"lora_unet_{ldm}.lora_down.weight", f"lora_unet_{ldm}.lora_up.weight"),
        (f"unet.{path}.processor.to_out_lora.down.weight", f"unet.{path}.processor.to_out_lora.up.weight"),
        (f"{path}.processor.to_out_lora.down.weight", f"{path}.processor.to_out_lora.up.weight"),
        (f"unet.{path}.to_out.0.lora.down.weight", f"unet.{path}.to_out.0.lora.up.weight"),
        (f"unet.{path}.to_out.0.lora_A.weight", f"unet.{path}.to_out.0.lora_B.weight"),
        (f"unet.{path}.to_out.0.lora_A.default.weight", f"unet.{path}.to_out.0.lora_B.default.weight"),
        (f"base_model.model.{path}.to_out.0.lora_A.weight", f"base_model.model.{path}.to_out.0.lora_B.weight"),
        (f"unet.{path}.to_out.0.lora_linear_layer.down.weight", f"unet.{path}.to_out.0.lora_linear_layer.up.weight"),
    ]
    for names in spelled:
        found = read(dict(zip(names, (down, up), strict=True)), targets("sd1"))
        assert list(found.deltas) == [f"unet.{path}.to_out.0.weight"]
        assert torch.equal(found.deltas[f"unet.{path}.to_out.0.weight"].of(torch.zeros(320, 320), 1.0), up @ down)
