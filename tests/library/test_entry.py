import json

import pytest

from studio.library.index import Library
from studio.library.names import DIFFUSERS, vae_names
from studio.settings import BUILTIN
from tests.library import headers
from tests.library.kit import settings_in

FLUX_LORA = {
    f"lora_unet_double_blocks_0_img_attn_proj.lora_{way}.weight": shape
    for way, shape in (("down", (4, 3072)), ("up", (3072, 4)))
}
STRANGE_LORA = {
    f"lora_unet_strange_parts_{part}_proj.lora_{way}.weight": shape
    for part in range(200)
    for way, shape in (("down", (4, 64)), ("up", (64, 4)))
}


@pytest.fixture
def folder(tmp_path):
    return settings_in(tmp_path).paths.models / "loras"


def own(tmp_path):
    return [entry for entry in Library(settings_in(tmp_path)).entries() if not entry.path.is_relative_to(BUILTIN)]


@pytest.mark.parametrize("said", ["SD1", "SDXL"])
@pytest.mark.parametrize(
    ("tensors", "open_to"),
    [
        (FLUX_LORA, ()),
        (STRANGE_LORA, ()),
        (STRANGE_LORA | headers.text_lora("sdxl", starts=(("lora_te1_", 768, 12),)), ()),
        (headers.text_lora("sd1", starts=(("text_encoder.", 768, 12),)), ("sd1", "sdxl")),  # both have such an encoder
        (headers.text_lora("sdxl", starts=(("lora_te2_", 1280, 32),)), ("sdxl",)),
        (headers.lora("sd1") | headers.text_lora("sdxl"), ()),
        (headers.FLUX, ()),
        (headers.vae("") | {"decoder.conv_in.weight": (512, 16, 3, 3)}, ()),
        (headers.vae(""), ("sd1", "sdxl")),
        (headers.UPSCALERS["ESRGAN"], ()),
        ({"emb_params": (4, 4096)}, ()),
    ],
)
def test_a_sidecar_names_a_base_model_only_where_the_tensors_leave_it_open(tmp_path, folder, tensors, open_to, said):
    headers.write(folder / "a.safetensors", tensors)
    (folder / "a.json").write_text(json.dumps({"sd version": said}))
    (entry,) = own(tmp_path)
    assert entry.base == (said.lower() if said.lower() in open_to else "unknown")


@pytest.mark.parametrize("said", ["SD1", "SDXL"])
@pytest.mark.parametrize(
    ("factor", "channels", "told", "base"),
    [(0, 4, 4, None), (0, 16, 4, "unknown"), (0.3611, 16, 16, "unknown"), (0.18215, 4, 4, "sd1")],
)
def test_a_folder_vae_is_what_its_weights_are_and_not_what_a_sidecar_says(
    tmp_path, folder, said, factor, channels, told, base
):
    place = folder.parent / "vae" / "mine"
    place.mkdir(parents=True)
    config = {"_class_name": "AutoencoderKL", "scaling_factor": factor, "latent_channels": told}
    (place / "config.json").write_text(json.dumps(config))
    tensors = dict(vae_names(DIFFUSERS)) | {"decoder.conv_in.weight": (512, channels, 3, 3)}
    headers.write(place / "diffusion_pytorch_model.safetensors", tensors)
    (place.parent / "mine.json").write_text(json.dumps({"sd version": said}))
    (entry,) = own(tmp_path)
    assert (entry.kind, entry.base) == ("vae", base or said.lower())
    assert entry.usable == (channels == 4)
