"""What files of adapters say of themselves: their base model and their words."""

import pytest

from studio.library.identify import identify
from tests.library import headers
from tests.library.headers import checkpoint, lora, write


def of(path, tensors, **how):
    return identify(write(path / "model.safetensors", tensors, **how))


@pytest.mark.parametrize(
    ("tensors", "base", "words"),
    [
        (
            lora("sd1") | {"lora_unet_mid_block_attentions_0_attn2_to_k.lora_down.weight": (4, 1024)},
            "unknown",
            "no single",
        ),
        (lora("sd1") | headers.text_lora("sdxl"), "unknown", "no single"),
        (lora("sdxl", only="attn1"), "sdxl", ""),  # by its depth alone
        (headers.text_lora("sd1"), "sd1", ""),
        (headers.text_lora("sdxl", starts=(("lora_te2_", 1280, 32),)), "unknown", "the same in SDXL"),
        (headers.text_lora("sd1", starts=(("text_encoder.", 768, 12),)), "unknown", "SD 1 or SDXL"),
        (
            {
                "joint_blocks.0.x_block.attn.qkv.lora_A.weight": (4, 9),
                "joint_blocks.0.x_block.attn.qkv.lora_B.weight": (9, 4),
            },
            "unknown",
            "Stable Diffusion 3",
        ),
        (
            {
                "model.layers.0.self_attn.q_proj.lora_A.weight": (4, 9),
                "model.layers.0.self_attn.q_proj.lora_B.weight": (9, 4),
            },
            "unknown",
            "another transformer",
        ),
    ],
)
def test_the_base_model_of_a_lora_is_what_all_of_it_agrees_on(tmp_path, tensors, base, words):
    found = of(tmp_path, tensors)
    assert (found.kind, found.base) == ("lora", base)
    assert words in f"{found.reason} {found.evidence}"


def test_metadata_decides_where_shapes_leave_it_open_and_never_against_them(tmp_path):
    both = lora("sd1", only="attn1")
    assert of(tmp_path, both, metadata={"ss_base_model_version": "sd_v2_v"}).base == "sd2"
    assert of(tmp_path, both, metadata={"modelspec.architecture": "stable-diffusion-v1/lora"}).base == "sd1"
    assert of(tmp_path, both, metadata={"modelspec.architecture": "stable-diffusion-xl-v1-base/lora"}).base == "unknown"
    assert of(tmp_path, lora("sd1"), metadata={"ss_base_model_version": "sdxl_base_v1-0"}).base == "unknown"
    assert of(tmp_path, checkpoint("sd1"), metadata={"modelspec.architecture": "stable-diffusion-v2-512"}).base == "sd1"
    assert (
        of(tmp_path, headers.vae(""), metadata={"modelspec.architecture": "stable-diffusion-xl-v1-base"}).base == "sdxl"
    )
    assert "made for flux-1-dev" in of(tmp_path, {"x": (9,)}, metadata={"modelspec.architecture": "flux-1-dev"}).reason


def test_words_that_a_file_says_to_use_it_by_are_kept(tmp_path):
    found = of(tmp_path, lora("sd1", only="mid_block"), metadata={"modelspec.trigger_phrase": "sks dog, photo"})
    assert found.trigger_words == ("sks dog", "photo")


@pytest.mark.parametrize(
    ("counted", "words"),
    [
        ('{"10_sks dog": {"sks dog": 20, " grass": 9}, "5_more": {"sks dog": 4, "park": 21}}', ("sks dog", "park")),
        ("{}", ()),
        ("[3]", ()),
        ('{"a": {"b": "many"}}', ()),
        ('{"a": 3}', ()),
        ("no json", ()),
    ],
)
def test_tags_that_most_captions_had_are_its_words(tmp_path, counted, words):
    found = of(tmp_path, lora("sd1", only="mid_block"), metadata={"ss_tag_frequency": counted})
    assert found.trigger_words == words


def test_embeddings_inside_of_a_file_are_words_to_use_it_by(tmp_path):
    inside = {"bundle_emb.my style.clip_l": (2, 768), "bundle_emb.my style.clip_g": (2, 1280), "bundle_emb.x.y": (1, 1)}
    found = of(tmp_path, lora("sdxl") | inside, metadata={"modelspec.trigger_phrase": "sks dog"})
    assert (found.kind, found.base, found.usable) == ("lora", "sdxl", True)
    assert found.trigger_words == ("my style", "x", "sks dog")
    assert of(tmp_path, {"bundle_emb.cat.clip_l": (2, 768)}).kind != "lora"
