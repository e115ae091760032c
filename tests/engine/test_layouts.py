import re

import pytest

from studio.engine.configs import CLASSES, CONFIGS
from studio.engine.layouts import NEEDLESS, PREFIXES, control_places, folder_places, places_of
from studio.engine.skeletons import expected_shapes
from studio.library.names import DIFFUSERS, LDM, clip_names, control_names, open_clip_names, unet_names, vae_names

PARTS = [(base, part) for base, parts in CONFIGS.items() for part in parts]


def in_file(base, part):
    """The names that the part's tensors have in a file, by the identification's own tables."""
    config = CONFIGS[base][part]
    if part == "unet":
        return set(unet_names(base, LDM))
    if part == "vae":
        return set(vae_names(LDM))
    names = clip_names if PREFIXES[base][part][1] == "clip" else open_clip_names
    found = set(names(config["hidden_size"], config["num_hidden_layers"]))
    return found | ({"text_projection"} if part == "text_encoder_2" else set())


@pytest.mark.parametrize(("base", "part"), PARTS)
def test_every_tensor_of_the_real_models_has_one_place(base, part):
    shapes = expected_shapes(CLASSES[part], CONFIGS[base][part])
    places = [places_of(name, base, PREFIXES[base][part][1])[0] for name in shapes]
    assert len({*places}) == len(shapes)
    assert {place.name for place in places} == in_file(base, part)


@pytest.mark.parametrize("base", CONFIGS)
def test_the_classes_have_the_shapes_that_files_are_known_by(base):
    shapes = expected_shapes(CLASSES["unet"], CONFIGS[base]["unet"])
    assert shapes == unet_names(base, DIFFUSERS)


@pytest.mark.parametrize("base", ["sd1", "sd2", "sdxl"])
def test_every_tensor_of_a_controlnet_has_one_place(base):
    shared = ("cross_attention_dim", "block_out_channels", "down_block_types", "attention_head_dim")
    xl = ("addition_embed_type", "addition_time_embed_dim", "projection_class_embeddings_input_dim")
    more = ("use_linear_projection", "transformer_layers_per_block")
    config = {key: value for key, value in CONFIGS[base]["unet"].items() if key in shared + xl + more}
    shapes = expected_shapes("ControlNetModel", config)
    places = control_places(base, "")
    assert places.keys() == shapes.keys() == control_names(base, DIFFUSERS).keys()
    assert {place.name for place in places.values()} == set(control_names(base, LDM))


def test_the_three_parts_of_an_attention_are_taken_from_one_tensor():
    names = [f"text_model.encoder.layers.3.self_attn.{letter}_proj.bias" for letter in "qkv"]
    places = [places_of(name, "sd2", "open_clip", "p.")[0] for name in names]
    assert {place.name for place in places} == {"p.transformer.resblocks.3.attn.in_proj_bias"}
    assert len({place.form for place in places}) == 3


def test_a_tensor_that_no_file_has_is_refused():
    with pytest.raises(KeyError):
        places_of("down_blocks.9.resnets.0.conv1.weight", "sd1", "unet")


def test_old_names_in_folders_are_known():
    assert "mid_block.attentions.0.query.weight" in {
        p.name for p in folder_places("mid_block.attentions.0.to_q.weight")
    }
    assert "text_model.final_layer_norm.bias" in {p.name for p in folder_places("final_layer_norm.bias")}


@pytest.mark.parametrize(
    "name",
    [
        "model_ema.diffusion_modelinput_blocks00weight",
        "model_ema.num_updates",
        "alphas_cumprod",
        "betas",
        "log_one_minus_alphas_cumprod",
        "posterior_mean_coef1",
        "sqrt_recip_alphas_cumprod",
        "first_stage_model.loss.discriminator.main.0.weight",
        "cond_stage_model.transformer.text_model.embeddings.position_ids",
        "cond_stage_model.model.logit_scale",
        "cond_stage_model.model.transformer.resblocks.23.ln_1.weight",
        "conditioner.embedders.1.model.logit_scale",
        "denoiser.sigmas",
        "depth_model.model.pretrained.model.pos_embed",
        "v_pred",
    ],
)
def test_what_files_carry_along_is_known(name):
    assert NEEDLESS.match(name)


@pytest.mark.parametrize(
    "name",
    ["model.diffusion_model.input_blocks.0.0.weight", "conditioner.embedders.1.model.ln_final.bias", "logo.weight"],
)
def test_what_parts_take_is_not_called_needless(name):
    assert not NEEDLESS.match(name)


def test_no_prefix_begins_another():
    for prefixes in PREFIXES.values():
        starts = [prefix for prefix, _ in prefixes.values()]
        assert not any(re.match(re.escape(a), b) for a in starts for b in starts if a != b)
