"""A side branch against the merged weights, on the real classes."""

import copy

import pytest
import torch
from torch import nn

from studio.adapters.branch import SideBranches, fits_beside
from studio.adapters.delta import LowRank
from studio.adapters.stack import Weighted, merge, terms_of
from studio.engine.attention import AttentionProcessor
from studio.engine.turbo import Turbo
from tests import tiny

CPU = torch.device("cpu")
TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


def unet_of(dtype=torch.float32):
    unet = tiny.tiny_unet().to(dtype).eval().requires_grad_(False)
    unet.set_attn_processor(AttentionProcessor("sdpa"))
    return unet


def random_loras(module, seed, **changed):
    """A plain LoRA for every Linear and Conv2d of a UNet."""
    rng = torch.Generator().manual_seed(seed)
    deltas = {}
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            up = torch.randn(layer.weight.shape[0], 2 + seed, generator=rng) * 0.1
            down = torch.randn(2 + seed, layer.weight[0].numel(), generator=rng) * 0.1
            deltas[f"unet.{name}.weight"] = LowRank(up, down, 0.5)
    return Weighted(id=f"lora-{seed}", title="lora", deltas=deltas, **changed)


def beside(module, stack):
    terms = terms_of(stack)
    layers = {module.get_submodule(n.removeprefix("unet.").removesuffix(".weight")): t for n, t in terms.items()}
    return SideBranches(layers, CPU, module.conv_in.weight.dtype)


def merged(module, stack):
    other = copy.deepcopy(module)
    for name, terms in terms_of(stack).items():
        weight = module.get_parameter(name.removeprefix("unet."))
        merge(other.get_parameter(name.removeprefix("unet.")), weight, terms)
    return other


@torch.no_grad()
def run(unet, side=8):
    rng = torch.Generator().manual_seed(1)
    sample, words = torch.randn(2, 4, side, side, generator=rng), torch.randn(2, 5, tiny.HIDDEN, generator=rng)
    return unet(sample.to(unet.dtype), 7, words.to(unet.dtype)).sample


def far(a, b):
    return ((a - b).abs().max() / b.abs().max()).item()


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(12, 10),
        nn.Conv2d(6, 8, 3, stride=2, padding=1),
        nn.Conv2d(6, 8, 1),
        nn.Conv2d(6, 8, 3, padding=2, dilation=2),
    ],
)
def test_a_layer_gives_what_the_merged_one_gives(layer, dtype):
    holder = nn.Module()
    holder.conv_in = layer.to(dtype).requires_grad_(False)
    stack = [random_loras(holder, 2, weight=0.7), random_loras(holder, 3, weight=-0.4)]
    x = torch.randn(2, 12) if isinstance(layer, nn.Linear) else torch.randn(2, 6, 9, 9)
    with beside(holder, stack).attached():
        made = holder.conv_in(x.to(dtype))
    assert far(made, merged(holder, stack).conv_in(x.to(dtype))) <= TOLERANCES[dtype]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_unet_predicts_what_the_merged_one_predicts(dtype):
    unet = unet_of(dtype)
    stack = [random_loras(unet, 1, weight=0.5), random_loras(unet, 2, weight=-0.3)]
    plain, other = run(unet), run(merged(unet, stack))
    with beside(unet, stack).attached():
        made = run(unet)
    assert far(made, other) <= (1e-4 if dtype == torch.float32 else 0.1)
    assert far(plain, other) > 0.2
    assert torch.equal(run(unet), plain)


def test_a_share_weighs_one_adapter_and_none_leaves_the_model_as_it_is():
    unet = unet_of()
    one, two = random_loras(unet, 1), random_loras(unet, 2)
    plain, branches = run(unet), beside(unet, [one, two])
    with branches.attached():
        branches.weigh(lambda adapter: 0.25 if adapter is one else 0.0)
        quarter = run(unet)
        branches.weigh(lambda _adapter: 0.0)
        assert torch.equal(run(unet), plain)
    assert far(quarter, run(merged(unet, [random_loras(unet, 1, weight=0.25)]))) <= 1e-4


def test_the_model_is_as_it_was_even_after_an_error():
    unet = unet_of()
    with pytest.raises(KeyError), beside(unet, [random_loras(unet, 1)]).attached():
        raise KeyError
    assert not any(layer._forward_hooks for layer in unet.modules())


def test_a_new_weight_compiles_nothing_and_compiled_blocks_heed_it():
    torch._dynamo.reset()
    unet, codes = unet_of(), []
    turbo = Turbo(CPU, lambda graph, _inputs: (codes.append(1), graph.forward)[1])
    with torch.inference_mode():
        with turbo.picture(unet):
            run(unet)
        turbo.tend()
        made, branches = len(codes), beside(unet, [random_loras(unet, 1)])
        for share in (1.0, 0.4):
            branches.weigh(lambda _adapter, share=share: share)
            with branches.attached(), turbo.picture(unet):
                shown = run(unet)
            assert far(shown, run(merged(unet, [random_loras(unet, 1, weight=share)]))) <= 1e-4
    assert made
    assert len(codes) == made


@pytest.mark.parametrize(
    ("layer", "fits"),
    [
        (nn.Linear(2, 2), True),
        (nn.Conv2d(2, 2, 3), True),
        (nn.Conv2d(2, 2, 3, groups=2), False),
        (nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"), False),
        (nn.Embedding(2, 2), False),
    ],
)
def test_what_cannot_run_beside_is_known(layer, fits):
    assert fits_beside(layer, LowRank(torch.ones(2, 1), torch.ones(1, 2), 1.0)) is fits
    assert not fits_beside(nn.Linear(2, 2), object())
