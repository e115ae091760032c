import json

import pytest

from studio.library.folders import identify_folder, precision_of
from studio.library.identify import identify
from studio.settings import BUILTIN
from tests.library.headers import write
from tests.library.test_library import make_checkpoint, make_control


def component(folder, **config):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    write(folder / "diffusion_pytorch_model.safetensors", {"weight": (2,)})
    return folder


def make_sdxl(folder, **how):
    make_checkpoint(folder, 2048, **how)
    for part in ("text_encoder_2", "tokenizer_2"):
        (folder / part).mkdir()
    write(folder / "text_encoder_2" / "model.safetensors", {"weight": (2,)})
    return folder


def test_the_starter_is_what_its_card_says():
    desk = identify(BUILTIN / "assets" / "starter" / "desk")
    assert (desk.kind, desk.base, desk.usable, desk.precision) == ("checkpoint", desk.card.base, True, "fp16")
    assert desk.card.demonstration
    scribble = identify(BUILTIN / "assets" / "starter" / "controlnet-scribble")
    assert (scribble.kind, scribble.base, scribble.control_kind) == ("controlnet", desk.base, "scribble")
    assert scribble.usable


@pytest.mark.parametrize(("channels", "variant"), [(4, "normal"), (9, "inpaint")])
def test_an_sdxl_folder_is_usable_with_both_text_encoders(tmp_path, channels, variant):
    found = identify(make_sdxl(tmp_path / "model", channels=channels))
    assert (found.base, found.variant, found.usable, found.width) == ("sdxl", variant, True, 2048)
    (tmp_path / "model" / "tokenizer_2").rmdir()
    assert identify(tmp_path / "model").reason == "Its folder tokenizer_2 is missing."


@pytest.mark.parametrize(
    ("width", "channels", "words"), [(1280, 4, "refiner"), (768, 8, "8 channels"), (768, 5, "5 ch")]
)
def test_folders_of_what_cannot_be_used_yet_say_so(tmp_path, width, channels, words):
    found = identify(make_checkpoint(tmp_path / "model", width, channels))
    assert (found.kind, found.usable) == ("checkpoint", False)
    assert words in found.reason


def test_a_pipeline_of_another_family_is_named(tmp_path):
    folder = make_checkpoint(tmp_path / "model")
    for name in ("FluxPipeline", "StableDiffusion3Pipeline", "StableCascadeCombinedPipeline"):
        (folder / "model_index.json").write_text(json.dumps({"_class_name": name}))
        found = identify(folder)
        assert (found.kind, found.usable) == ("unknown", False)
        assert name in found.reason
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    assert identify(folder).usable


def test_a_schedule_that_ends_in_noise_is_noted(tmp_path):
    folder = make_checkpoint(tmp_path / "model")
    scheduler = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    assert identify(folder).zero_snr


def test_weights_of_another_unet_than_the_configuration_speaks_of_are_noticed(tmp_path):
    folder = make_checkpoint(tmp_path / "model")
    write(folder / "unet" / "model.safetensors", {"conv_in.weight": (320, 9, 3, 3)})
    assert "not those of its configuration" in identify(folder).reason


@pytest.mark.parametrize(
    ("config", "kind", "base", "usable"),
    [
        ({"_class_name": "AutoencoderKL", "scaling_factor": 0.13025}, "vae", "sdxl", True),
        ({"_class_name": "AutoencoderKL", "scaling_factor": 0.18215, "latent_channels": 4}, "vae", "sd1", True),
        ({"_class_name": "AutoencoderKL", "scaling_factor": 0.3611, "latent_channels": 16}, "vae", "unknown", False),
        ({"_class_name": "AutoencoderTiny"}, "taesd", "unknown", False),
        ({"_class_name": "T2IAdapter", "adapter_type": "full_adapter"}, "t2i_adapter", "sd1", True),
        ({"_class_name": "T2IAdapter", "adapter_type": "full_adapter_xl"}, "t2i_adapter", "sdxl", True),
        (
            {"_class_name": "T2IAdapter", "adapter_type": "full_adapter", "channels": [64]},
            "t2i_adapter",
            "unknown",
            True,
        ),
        ({"_class_name": "IPAdapter", "cross_attention_dim": 768, "features": [12, 0]}, "ip_adapter", "sd1", True),
        ({"architectures": ["CLIPModel"], "vision_config": {"hidden_size": 8}}, "image_encoder", "unknown", True),
        ({"_class_name": "ControlNetUnionModel", "cross_attention_dim": 2048}, "controlnet", "sdxl", True),
        ({"_class_name": "UNet2DConditionModel", "cross_attention_dim": 768}, "checkpoint", "sd1", False),
        ({"architectures": ["CLIPVisionModelWithProjection"]}, "image_encoder", "unknown", True),
        ({"_class_name": "FluxTransformer2DModel"}, "unknown", "unknown", False),
        ({"architectures": ["CLIPTextModel"]}, "unknown", "unknown", False),
    ],
)
def test_parts_are_known_by_their_class(tmp_path, config, kind, base, usable):
    found = identify(component(tmp_path / "part", **config))
    assert (found.kind, found.base, found.usable, found.format) == (kind, base, usable, "diffusers")
    assert bool(found.reason) != found.usable


@pytest.mark.parametrize(
    "text", ["", "[]", "{broken", '{"architectures": 7}', '{"_class_name": "AutoencoderKL", "scaling_factor": [1]}']
)
def test_a_description_that_makes_no_sense_is_a_reason(tmp_path, text):
    folder = component(tmp_path / "part")
    (folder / "config.json").write_text(text)
    found = identify_folder(folder)
    assert found.kind == "unknown"
    assert found.reason


def test_a_control_net_without_readable_weights_is_not_usable(tmp_path):
    folder = make_control(tmp_path / "canny")
    (folder / "model.safetensors").write_bytes(b"text")
    found = identify(folder)
    assert (found.kind, found.base, found.usable) == ("controlnet", "sd1", False)
    assert precision_of(folder) == "unknown"
