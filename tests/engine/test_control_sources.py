import pytest
import torch
from diffusers import T2IAdapter
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from studio.engine.conditions import see
from studio.engine.control_sources import ENCODERS, t2i_config
from studio.engine.store import Store
from studio.errors import ModelNotFoundError
from studio.messages import ModelLocation
from tests import tiny
from tests.engine.units.test_units_agree_with_diffusers import tiny_ip_adapter, tiny_t2i_adapter

BASE = {"full_adapter": 8, "full_adapter_xl": 16, "light_adapter": 8}


@pytest.fixture
def store():
    return Store(torch.device("cpu"), torch.float32, "sdpa")


def location(path, kind):
    return ModelLocation(path.name, f"id-{path.name}", str(path), kind, "sd1")


def as_published(state, *, light):
    """The authors' spelling of diffusers' names."""
    found = {}
    for name, tensor in state.items():
        words = name.removeprefix("adapter.").split(".")
        if words[0] == "body" and words[2] == "resnets":
            level, block, rest = int(words[1]), int(words[3]), words[4:]
            words = ["body", words[1], "body", str(block), *rest] if light else ["body", str(2 * level + block), *rest]
        elif words[0] == "body" and not light:
            words[1] = str(2 * int(words[1]))
        found[".".join(words)] = tensor
    return found


@pytest.mark.parametrize("kind", BASE)
@pytest.mark.parametrize("published", [False, True])
def test_a_t2i_adapter_file_is_read_in_both_spellings(store, tmp_path, kind, published):
    torch.manual_seed(0)
    made = T2IAdapter(
        in_channels=3, channels=[8, 16, 24, 24], num_res_blocks=2, downscale_factor=BASE[kind], adapter_type=kind
    )
    state = made.state_dict()
    file = tmp_path / "adapter.safetensors"
    save_file(as_published(state, light=kind == "light_adapter") if published else state, file)
    read = store.control(location(file, "t2i_adapter"))
    assert read.config.adapter_type == kind
    picture = torch.rand(1, 3, 64, 64)
    for ours, theirs in zip(read(picture), made(picture), strict=True):
        assert torch.equal(ours, theirs)


def test_a_t2i_adapter_folder_is_read(store, tmp_path):
    made = tiny_t2i_adapter()
    made.save_pretrained(tmp_path / "folder")
    read = store.control(location(tmp_path / "folder", "t2i_adapter"))
    assert all(torch.equal(a, b) for a, b in zip(read.parameters(), made.parameters(), strict=True))


def test_the_one_channel_adapters_are_told_from_the_others():
    shapes = {"adapter.conv_in.weight": (320, 64, 3, 3), "adapter.body.0.resnets.1.block1.weight": (320, 320, 3, 3)}
    shapes["adapter.body.0.resnets.0.block1.weight"] = (320, 320, 3, 3)
    assert t2i_config(shapes)["in_channels"] == 1


def test_an_ip_adapter_and_its_encoder_are_read(store, tmp_path):
    adapter = tiny_ip_adapter(tiny.tiny_unet())
    save_file(adapter.to_state(), tmp_path / "ip.safetensors")
    encoder = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=16,
            patch_size=4,
            projection_dim=12,
        )
    )
    encoder.save_pretrained(tmp_path / "encoder")
    read = store.control(location(tmp_path / "ip.safetensors", "ip_adapter"))
    assert all(torch.equal(a, b) for a, b in zip(read.parameters(), adapter.parameters(), strict=True))
    seen = store.control(location(tmp_path / "encoder", "image_encoder"))
    picture = Image.linear_gradient("L").convert("RGB")
    assert see(seen, picture, hidden=False).shape == (1, 12)
    assert see(seen, picture, hidden=True).shape == (1, 17, 16)
    assert not torch.equal(see(seen, picture, hidden=False), see(seen, None, hidden=False))


def test_an_image_encoder_in_one_file_is_built_from_its_shapes(store, tmp_path, monkeypatch):
    monkeypatch.setitem(ENCODERS, 16, (2, "gelu"))
    config = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    made = CLIPVisionModelWithProjection(
        CLIPVisionConfig(**config, hidden_act="gelu", image_size=16, patch_size=4, projection_dim=12)
    ).eval()
    save_file(made.state_dict(), tmp_path / "encoder.safetensors")
    read = store.control(location(tmp_path / "encoder.safetensors", "image_encoder"))
    assert torch.equal(
        see(read, Image.linear_gradient("L"), hidden=False), see(made, Image.linear_gradient("L"), hidden=False)
    )


@pytest.mark.parametrize("kind", ["t2i_adapter", "ip_adapter", "image_encoder"])
def test_another_file_is_refused_by_name(store, tmp_path, kind):
    file = tmp_path / "stray.safetensors"
    save_file({"stray": torch.zeros(2)}, file)
    with pytest.raises(ModelNotFoundError, match="stray"):
        store.control(location(file, kind))
