import pytest
import torch
from diffusers import StableDiffusionXLAdapterPipeline, T2IAdapter

from studio.control.ip_adapter import IPAdapter
from studio.engine.units.ip_adapter import IPAdapterUnit
from studio.engine.units.t2i_adapter import T2IAdapterUnit
from studio.engine.units.unit import Setting
from tests import tiny
from tests.engine.latents import assert_agree

FEATURES = 12


def tiny_t2i_adapter(channels=3):
    torch.manual_seed(3)
    return T2IAdapter(
        in_channels=channels, channels=[8, 16], num_res_blocks=1, downscale_factor=4, adapter_type="full_adapter_xl"
    ).eval()


def tiny_ip_adapter(unet):
    torch.manual_seed(4)
    adapter = IPAdapter.beside(unet, FEATURES)
    for parameter in adapter.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return adapter


def diffusers_layout(adapter):
    state = {"image_proj": {}, "ip_adapter": {}}
    for name, tensor in adapter.to_state().items():
        part, rest = name.split(".", 1)
        state[part][rest] = tensor
    return state


@pytest.mark.parametrize("scale", [1.0, 0.4])
def test_a_t2i_adapter(large, picture, scale):
    adapter = tiny_t2i_adapter()
    parts = large.pipeline.components
    names = "vae text_encoder text_encoder_2 tokenizer tokenizer_2 unet scheduler".split()
    pipeline = StableDiffusionXLAdapterPipeline(**{name: parts[name] for name in names}, adapter=adapter)
    pipeline.set_progress_bar_config(disable=True)
    theirs = large.theirs(pipeline, image=picture, adapter_conditioning_scale=scale)
    assert_agree(large.ours(T2IAdapterUnit(adapter, picture, Setting(scale=scale))), theirs)
    assert not torch.allclose(large.ours(), theirs, atol=1e-2)


@pytest.mark.parametrize(
    ("method", "blocks"), [("style", {"up": {"block_0": 1.0}}), ("composition", {"down": {"block_1": 1.0}, "mid": 1.0})]
)
def test_an_ip_adapter_that_some_blocks_hear(small, method, blocks):
    adapter, features = tiny_ip_adapter(small.unet), torch.randn(1, FEATURES)
    small.pipeline.unet._load_ip_adapter_weights([diffusers_layout(adapter)], low_cpu_mem_usage=False)
    small.pipeline.set_ip_adapter_scale(blocks)
    embeds = torch.cat([torch.zeros(1, 1, FEATURES), features[None]])
    theirs = small.theirs(ip_adapter_image_embeds=[embeds])
    ours = small.ours(IPAdapterUnit(adapter, features, torch.zeros(1, FEATURES), method=method))
    assert_agree(ours, theirs)
    whole = small.ours(IPAdapterUnit(adapter, features, torch.zeros(1, FEATURES)))
    assert not torch.allclose(ours, whole, atol=1e-3)


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("masked", [False, True])
def test_an_ip_adapter(small, scale, masked):
    adapter = tiny_ip_adapter(small.unet)
    features, mask = torch.randn(1, FEATURES), torch.zeros(1, 1, tiny.SIZE, tiny.SIZE)
    mask[..., : tiny.SIZE // 2] = 1
    small.pipeline.unet._load_ip_adapter_weights([diffusers_layout(adapter)], low_cpu_mem_usage=False)
    small.pipeline.set_ip_adapter_scale(scale)
    embeds = torch.cat([torch.zeros(1, 1, FEATURES), features[None]])
    options = {"cross_attention_kwargs": {"ip_adapter_masks": [mask]}} if masked else {}
    theirs = small.theirs(ip_adapter_image_embeds=[embeds], **options)
    unit = IPAdapterUnit(
        adapter, features, torch.zeros(1, FEATURES), Setting(scale=scale, mask=mask if masked else None)
    )
    assert_agree(small.ours(unit), theirs)
    assert not torch.allclose(small.ours(), theirs, atol=1e-2)
