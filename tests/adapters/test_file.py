"""What becomes of a file: what is used, and what is not and why; PEFT's files against PEFT itself."""

import json

import pytest
import torch
from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY
from peft import LoraConfig, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer

from studio.adapters.embeddings import read_embedding
from tests import tiny
from tests.adapters.held import read

TARGETS = {
    "unet.conv_in.weight": (8, 4, 3, 3),
    "unet.conv_in.bias": (8,),
    "unet.mid_block.attentions.0.proj_in.weight": (8, 8),
    "unet.mid_block.attentions.0.proj_in.bias": (8,),
    "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight": (8, 8),
    "text_encoder.embeddings.token_embedding.weight": (99, 8),
    "text_encoder.encoder.layers.0.self_attn.q_proj.weight": (8, 8),
    "text_encoder.encoder.layers.0.self_attn.q_proj.bias": (8,),
}
PROJ, CONV = "lora_unet_mid_block_attentions_0_proj_in", "lora_unet_conv_in"
TO_Q = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
TEXT = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"


def pair(stem, *, out=8, inner=8, rank=2, up_rank=None):
    return {
        f"{stem}.lora_down.weight": torch.randn(rank, inner),
        f"{stem}.lora_up.weight": torch.randn(out, up_rank or rank),
    }


def alpha(stem, value):
    return {f"{stem}.alpha": torch.tensor(value)}


SOUND = pair(PROJ) | alpha(PROJ, 1.0)
OLD = "unet.mid_block.attentions.0.proj_in"
BAD = {  # a file, how many of its tensors are used, and what is said of the first that is not
    "another base's shapes": (SOUND | pair(TO_Q, inner=16), 3, "is for a layer of 8 x 16"),
    "layers that are not there": (SOUND | pair("lora_unet_down_blocks_9_proj"), 3, "this checkpoint does not have"),
    "two text encoders": (SOUND | pair(TEXT.replace("te_", "te1_")), 3, "with two text encoders"),
    "FLUX": (SOUND | pair("lora_unet_double_blocks_0_img_attn_qkv"), 3, "is for FLUX.1"),
    "motion": (SOUND | pair("lora_unet_down_blocks_0_motion_modules_0_proj"), 3, "is for an AnimateDiff motion module"),
    "more layers": (SOUND | pair(TEXT.replace("layers_0", "layers_30")), 3, "this checkpoint does not have"),
    "Stable Cascade": (SOUND | pair("lora_prior_unet_mid_block_attentions_0_proj_in"), 3, "is for Stable Cascade"),
    "only up": (SOUND | {f"{TO_Q}.lora_up.weight": torch.ones(8, 2)}, 3, "of no use without lora_down"),
    "only down": (SOUND | {f"{TO_Q}.lora_down.weight": torch.ones(2, 8)}, 3, "of no use without lora_up"),
    "only alpha": (SOUND | alpha(TO_Q, 1.0), 3, "stands beside nothing"),
    "ranks that differ": (SOUND | pair(TO_Q, rank=2, up_rank=3), 3, "has rank 2 and lora_up rank 3"),
    "an alpha that is none": (SOUND | pair(TO_Q) | alpha(TO_Q, float("nan")), 3, "alpha is nan"),
    "an infinite alpha": (SOUND | pair(TO_Q) | alpha(TO_Q, float("inf")), 3, "alpha is inf"),
    "several alphas": (SOUND | pair(TO_Q) | {f"{TO_Q}.alpha": torch.ones(2)}, 3, "alpha is no single number"),
    "an unknown ending": (SOUND | {f"{TO_Q}.magic": torch.ones(2)}, 3, "ends in no way"),
    "a sort that is not read": (SOUND | {f"{TO_Q}.reshape_weight": torch.ones(2)}, 3, "of a sort that cannot be read"),
    "triangles for others": (SOUND | {f"{TO_Q}.oft_R.weight": torch.ones(3, 3)}, 3, "oft_R has 3 x 3"),
    "triangles of no block": (SOUND | {f"{TO_Q}.oft_R.weight": torch.ones(2, 5)}, 3, "oft_R has 2 x 5"),
    "squares for others": (SOUND | {f"{TO_Q}.boft_R": torch.ones(1, 3, 4, 4)}, 3, "its blocks have 1 x 3 x 4 x 4"),
    "squares of no form": (SOUND | {f"{TO_Q}.boft_R": torch.ones(3, 2, 4, 4)}, 3, "in 3 stages of 4"),
    "factors for others": (
        SOUND | {f"{TO_Q}.boft_R": torch.ones(1, 2, 4, 4), f"{TO_Q}.boft_s": torch.ones(9, 1)}, 3, "boft_s has 9 x 1"
    ),
    "factors alone": (SOUND | {f"{TO_Q}.boft_s": torch.ones(8, 1)}, 3, "stands beside nothing"),
    "finished blocks for others": (SOUND | {f"{TO_Q}.oft_diag": torch.ones(3, 4, 4)}, 3, "its blocks have 3 x 4 x 4"),
    "an embedding of another width": (SOUND | {"bundle_emb.cat.emb_params": torch.ones(1, 9)}, 3, "of width 9"),
    "an embedding of two encoders": (SOUND | {f"bundle_emb.c.clip_{c}": torch.ones(1, 8) for c in "lg"}, 3, "8 and 8"),
    "what ends in another encoder": (SOUND | {"bundle_emb.cat.t5": torch.ones(1, 8)}, 3, "no text encoder here reads"),
    "an embedding without a name": (SOUND | {"bundle_emb.clip_l": torch.ones(1, 8)}, 3, "ends in no way"),
    "two spellings": (SOUND | pair(OLD), 3, f"is for {OLD}, which {PROJ} changes already"),
    "two endings": (SOUND | {f"{PROJ}.lora_A.weight": torch.ones(2, 8)}, 3, "is another spelling of"),
    "two sorts": (SOUND | {f"{PROJ}.diff": torch.ones(8, 8)}, 3, "which other tensors of the same layer change"),
    "a bias where none is": (SOUND | {f"{TO_Q}.diff_b": torch.ones(8)}, 3, "has none in this checkpoint"),
    "a number as a factor": (SOUND | pair(TO_Q) | {f"{TO_Q}.lora_up.weight": torch.tensor(1.0)}, 3, "shape a number"),
    "nothing as a factor": (SOUND | pair(TO_Q, rank=0), 3, "has the shape 0 x 8"),
    "magnitudes of another layer": (SOUND | pair(TO_Q) | {f"{TO_Q}.dora_scale": torch.ones(9, 1)}, 3, "magnitudes"),
    "a flat kernel": (SOUND | pair(CONV, inner=4), 3, "is for a layer of 8 x 4"),
    "half of LoHa": (SOUND | {f"{TO_Q}.hada_w1_a": torch.ones(8, 2)}, 3, "without hada_w1_b"),
    "half of LoKr": (SOUND | {f"{TO_Q}.lokr_w1": torch.ones(2, 2)}, 3, "without lokr_w2_a"),
    "LoKr for others": (
        SOUND | {f"{TO_Q}.lokr_w1": torch.ones(2, 2), f"{TO_Q}.lokr_w2": torch.ones(5, 4)}, 3, "for a layer of 10 x 8"
    ),
    "blocks for others": (SOUND | {f"{TO_Q}.oft_blocks": torch.ones(3, 4, 4)}, 3, "its blocks have 3 x 4 x 4"),
    "a butterfly of no form": (SOUND | {f"{TO_Q}.oft_blocks": torch.ones(4, 2, 4, 4)}, 3, "in 4 stages of 4"),
    "GLoRA for others": (
        SOUND | {f"{TO_Q}.{part}.weight": torch.ones(2, 2) for part in ("a1", "a2", "b1", "b2")}, 3, "is for another"
    ),
    "IA3 for others": (
        SOUND | {f"{TO_Q}.weight": torch.ones(9), f"{TO_Q}.on_input": torch.tensor(1)}, 3, "it has 9, and"
    ),
    "a checkpoint": ({"model.diffusion_model.out.2.weight": torch.ones(4, 8, 3, 3)}, 0, "ends in no way"),
    "nothing": ({}, 0, ""),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_used_is_said_and_the_rest_is_used(case):
    tensors, matched, reason = BAD[case]
    found = read(tensors, TARGETS)
    assert found.matched == matched
    assert found.matched + len(found.unmatched) == len(tensors)
    assert {row.key for row in found.unmatched} | {key for keys in found.keys.values() for key in keys} == {*tensors}
    assert all(reason in row.reason for row in found.unmatched)
    assert list(found.deltas) == ([f"{OLD}.weight"] if matched else [])


@pytest.mark.parametrize("role", ["string_to_param.*", "string_to_param.265", "emb_params", "clip_l"])
@pytest.mark.parametrize("name", ["cat", "my style v1.5", "<cat>"])
def test_an_embedding_inside_of_a_file_is_matched_and_held_by_its_name(name, role):
    rows = torch.randn(2, 8)
    found = read(SOUND | {f"bundle_emb.{name}.{role}": rows}, TARGETS)
    assert not found.unmatched
    assert found.matched == 4
    vectors = read_embedding(found.embeddings[name], name).for_encoders([8])
    assert torch.equal(vectors[0], rows)


def test_a_file_says_what_it_is():
    found = read(SOUND | pair(TEXT) | {f"{CONV}.w_norm": torch.ones(8)}, TARGETS, {"ss_network_dim": "2"})
    assert found.title == "cat.safetensors"
    assert found.algorithms == ("LoRA",)
    assert found.metadata == {"ss_network_dim": "2"}
    assert set(found.deltas) == {f"{OLD}.weight", "text_encoder.encoder.layers.0.self_attn.q_proj.weight"}


def test_layers_may_have_different_ranks_and_alphas():
    tensors = pair(PROJ, rank=2) | alpha(PROJ, 1.0) | pair(TO_Q, rank=5) | alpha(TO_Q, 0.0) | pair(TEXT, rank=3)
    found = read(tensors, TARGETS)
    assert not found.unmatched
    assert [delta.scale for delta in found.deltas.values()] == [0.5, 1.0, 1.0]


def test_no_tensor_is_copied_when_a_file_is_read():
    tensors = SOUND | pair(CONV, inner=4 * 9)
    tensors[f"{CONV}.lora_down.weight"] = tensors[f"{CONV}.lora_down.weight"].view(2, 4, 3, 3)
    tensors[f"{CONV}.lora_up.weight"] = tensors[f"{CONV}.lora_up.weight"].view(8, 2, 1, 1)
    found = read(tensors, TARGETS)
    for name, stem in ((f"{OLD}.weight", PROJ), ("unet.conv_in.weight", CONV)):
        assert found.deltas[name].up.data_ptr() == tensors[f"{stem}.lora_up.weight"].data_ptr()
        assert found.deltas[name].down.data_ptr() == tensors[f"{stem}.lora_down.weight"].data_ptr()


SETTINGS = {
    "plain": ({}, 1.0),
    "with alpha": ({"unet.lora_alpha": 4, "unet.r": 2}, 2.0),
    "rsLoRA": ({"unet.lora_alpha": 4, "unet.use_rslora": True}, 4 / 2**0.5),
    "a pattern": ({"unet.lora_alpha": 4, "unet.alpha_pattern": {"attentions.0.proj_in": 1}}, 0.5),
    "another's pattern": ({"unet.lora_alpha": 4, "unet.alpha_pattern": {"j_in": 1, "attn1.to_q": 1}}, 2.0),
    "of another part": ({"text_encoder.lora_alpha": 4}, 1.0),
    "alpha of nothing": ({"unet.lora_alpha": 0}, 1.0),
    "no number": ({"unet.lora_alpha": "4", "unet.alpha_pattern": {"proj_in": "x"}}, 1.0),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_the_header_says_how_strong_a_change_without_alpha_is(case):
    said, scale = SETTINGS[case]
    found = read(pair(PROJ), TARGETS, {LORA_ADAPTER_METADATA_KEY: json.dumps(said)})
    assert not found.unmatched
    assert found.deltas[f"{OLD}.weight"].scale == pytest.approx(scale)


def test_alpha_in_the_file_goes_before_the_header():
    found = read(SOUND, TARGETS, {LORA_ADAPTER_METADATA_KEY: json.dumps({"unet.lora_alpha": 16})})
    assert found.deltas[f"{OLD}.weight"].scale == 0.5


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000, "null"])
def test_a_header_that_cannot_be_read_is_said(text):
    found = read(pair(PROJ), TARGETS, {LORA_ADAPTER_METADATA_KEY: text})
    assert found.matched == 2
    assert [row.key for row in found.unmatched] == [LORA_ADAPTER_METADATA_KEY]


PEFT = {
    "lora": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "bias": {"lora_bias": True},
    "patterns": {"alpha_pattern": {"attn2.to_v": 1}, "rank_pattern": {"conv1": 5, "attn2.to_v": 7}},
}


@pytest.mark.filterwarnings("ignore:Adapter 'default'.*invalid shape")  # PEFT takes a bias of lora_B for a fault
@pytest.mark.parametrize("bare", [False, True], ids=["diffusers' start", "PEFT's start"])
@pytest.mark.parametrize("case", PEFT)
def test_a_file_of_peft_makes_the_weights_that_peft_makes(case, bare):
    unet = tiny.tiny_unet()
    pristine = {f"unet.{name}": tensor.clone() for name, tensor in unet.state_dict().items()}
    layers = ["to_out.0", "conv1", "proj_in", *([] if case == "bias" else ["to_v"])]  # to_v has no bias
    config = LoraConfig(r=3, lora_alpha=6, target_modules=layers, **PEFT[case])
    unet.add_adapter(config)
    torch.manual_seed(1)
    for name, parameter in unet.named_parameters():
        if "lora_" in name:
            parameter.data = torch.rand_like(parameter) if "magnitude" in name else torch.randn_like(parameter) * 0.2
    start = "base_model.model." if bare else "unet."
    tensors = {f"{start}{name}": tensor for name, tensor in get_peft_model_state_dict(unet).items()}
    said = {f"unet.{name}": value for name, value in config.to_dict().items() if not isinstance(value, set)}
    shapes = {name: tuple(tensor.shape) for name, tensor in pristine.items()}
    found = read(tensors, shapes, {LORA_ADAPTER_METADATA_KEY: json.dumps(said, default=str)})
    assert not found.unmatched
    changed = {}
    for name, module in unet.named_modules():
        if isinstance(module, LoraLayer):
            module.merge()
            changed |= {f"unet.{name}.{key}": tensor for key, tensor in module.base_layer.state_dict().items()}
    for name, tensor in changed.items():
        delta = found.deltas[name].of(pristine[name], 1.0) if name in found.deltas else 0
        torch.testing.assert_close(pristine[name] + delta, tensor, rtol=1e-5, atol=1e-6)
    assert len(found.deltas) >= 10
