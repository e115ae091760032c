"""Names and shapes of every tensor of the known networks, in LDM's spelling and in diffusers'.

Source: the networks' configurations (v1-inference.yaml, v2-inference.yaml, sd_xl_base.yaml, sd_xl_refiner.yaml);
diffusers' spelling as in its loaders/single_file_utils.py. Tests hold both against diffusers' classes and converters.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

Shape = tuple[int, ...]
Entry = tuple[str, str, Shape]  # LDM's name, diffusers' name, shape
Names = dict[str, Shape]
LDM, DIFFUSERS = 0, 1


@dataclass(frozen=True)
class UnetPlan:
    """How a UNet is built.

    Fields:
        width: Of the text's vectors that its cross-attention reads.
        multiples: Channels of each level, as multiples of `channels`.
        depths: Transformer blocks in each attention of a level; 0 for none. `middle`: those between down and up.
        added: Size of the vector that SDXL's UNets get beside the text; 0 for none.
        linear: Whether a transformer's input and output are stored as matrices; otherwise as 1x1 convolutions.
    """

    base: str
    width: int
    channels: int = 320
    multiples: tuple[int, ...] = (1, 2, 4, 4)
    depths: tuple[int, ...] = (1, 1, 1, 0)
    middle: int = 1
    added: int = 0
    linear: bool = False

    @property
    def sizes(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(self.channels * multiple for multiple in self.multiples)


PLANS = {
    "sd1": UnetPlan("sd1", 768),
    "sd2": UnetPlan("sd2", 1024, linear=True),
    "sdxl": UnetPlan("sdxl", 2048, multiples=(1, 2, 4), depths=(0, 2, 10), middle=10, added=2816, linear=True),
    "sdxl-refiner": UnetPlan(
        "sdxl-refiner", 1280, channels=384, depths=(0, 4, 4, 0), middle=4, added=2560, linear=True
    ),
}
BASES_BY_WIDTH = {plan.width: plan.base for plan in PLANS.values()}


@lru_cache(maxsize=64)
def unet_names(base: str, spelling: int) -> Names:
    """Every tensor of that base model's UNet with 4 channels in."""
    return _spelled(_unet(PLANS[base]), spelling)


@lru_cache(maxsize=64)
def control_names(base: str, spelling: int) -> Names:
    """Every tensor of a ControlNet for that base model, with a picture of 3 channels as its hint."""
    return _spelled(_control(PLANS[base]), spelling)


@lru_cache(maxsize=8)
def vae_names(spelling: int) -> Names:
    """Every tensor of the autoencoder that SD 1, SD 2 and SDXL share in shape, 4 latent channels."""
    return _spelled(_vae(), spelling)


@lru_cache(maxsize=8)
def clip_names(width: int, layers: int) -> Names:
    """Every tensor of a CLIP text encoder as transformers spells it, from `text_model.` on."""
    names: Names = {}
    names["text_model.embeddings.token_embedding.weight"] = (49408, width)
    names["text_model.embeddings.position_embedding.weight"] = (77, width)
    parts: Names = {f"self_attn.{part}_proj": (width, width) for part in ("q", "k", "v", "out")}
    parts |= {"mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)}
    parts |= {"layer_norm1": (width,), "layer_norm2": (width,)}
    for layer in range(layers):
        for part, shape in parts.items():
            names.update(_pair(f"text_model.encoder.layers.{layer}.{part}", shape))
    names.update(_pair("text_model.final_layer_norm", (width,)))
    return names


@lru_cache(maxsize=8)
def open_clip_names(width: int, layers: int) -> Names:
    """Every tensor of a CLIP text encoder as open_clip spells it, without those that only some files have."""
    names: Names = {"positional_embedding": (77, width), "token_embedding.weight": (49408, width)}
    for layer in range(layers):
        start = f"transformer.resblocks.{layer}"
        names |= {f"{start}.attn.in_proj_weight": (3 * width, width), f"{start}.attn.in_proj_bias": (3 * width,)}
        names |= _pair(f"{start}.attn.out_proj", (width, width))
        names |= _pair(f"{start}.mlp.c_fc", (4 * width, width)) | _pair(f"{start}.mlp.c_proj", (width, 4 * width))
        names |= _pair(f"{start}.ln_1", (width,)) | _pair(f"{start}.ln_2", (width,))
    return names | _pair("ln_final", (width,))


def _pair(name: str, shape: Shape) -> Names:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _spelled(entries: Iterator[Entry], spelling: int) -> Names:
    return {(ldm, diffusers)[spelling]: shape for ldm, diffusers, shape in entries}


def _layer(ldm: str, diffusers: str, shape: Shape, *, bias: bool = True) -> Iterator[Entry]:
    yield f"{ldm}.weight", f"{diffusers}.weight", shape
    if bias:
        yield f"{ldm}.bias", f"{diffusers}.bias", shape[:1]


def _unet(plan: UnetPlan) -> Iterator[Entry]:
    yield from _encoder(plan)
    time = 4 * plan.channels
    skips = _skips(plan)
    here = plan.sizes[-1]
    block, top = 0, len(plan.sizes) - 1
    for level in range(top, -1, -1):
        size, depth = plan.sizes[level], plan.depths[level]
        for part in range(3):
            ldm, diffusers = f"output_blocks.{block}", f"up_blocks.{top - level}"
            yield from _resnet(f"{ldm}.0", f"{diffusers}.resnets.{part}", here + skips.pop(), size, time)
            here = size
            if depth:
                yield from _transformer(f"{ldm}.1", f"{diffusers}.attentions.{part}", size, plan, depth)
            if part == 2 and level:
                conv = f"{ldm}.{2 if depth else 1}.conv"
                yield from _layer(conv, f"{diffusers}.upsamplers.0.conv", (size, size, 3, 3))
            block += 1
    yield from _layer("out.0", "conv_norm_out", (here,))
    yield from _layer("out.2", "conv_out", (4, here, 3, 3))


def _encoder(plan: UnetPlan) -> Iterator[Entry]:
    """Everything down to the middle: what a UNet and a ControlNet share."""
    first, time = plan.channels, 4 * plan.channels
    yield from _layer("time_embed.0", "time_embedding.linear_1", (time, first))
    yield from _layer("time_embed.2", "time_embedding.linear_2", (time, time))
    if plan.added:
        yield from _layer("label_emb.0.0", "add_embedding.linear_1", (time, plan.added))
        yield from _layer("label_emb.0.2", "add_embedding.linear_2", (time, time))
    yield from _layer("input_blocks.0.0", "conv_in", (first, 4, 3, 3))
    block, here = 1, first
    for level, (size, depth) in enumerate(zip(plan.sizes, plan.depths, strict=True)):
        for part in range(2):
            ldm, diffusers = f"input_blocks.{block}", f"down_blocks.{level}"
            yield from _resnet(f"{ldm}.0", f"{diffusers}.resnets.{part}", here, size, time)
            here = size
            if depth:
                yield from _transformer(f"{ldm}.1", f"{diffusers}.attentions.{part}", size, plan, depth)
            block += 1
        if level + 1 < len(plan.sizes):
            conv = f"input_blocks.{block}.0.op"
            yield from _layer(conv, f"down_blocks.{level}.downsamplers.0.conv", (size, size, 3, 3))
            block += 1
    yield from _resnet("middle_block.0", "mid_block.resnets.0", here, here, time)
    yield from _transformer("middle_block.1", "mid_block.attentions.0", here, plan, plan.middle)
    yield from _resnet("middle_block.2", "mid_block.resnets.1", here, here, time)


def _skips(plan: UnetPlan) -> list[int]:
    """Channels of each of the encoder's outputs that the decoder gets, in order."""
    last = len(plan.sizes) - 1
    inner = [size for level, size in enumerate(plan.sizes) for _ in range(3 if level < last else 2)]
    return [plan.channels, *inner]


def _resnet(ldm: str, diffusers: str, before: int, after: int, time: int) -> Iterator[Entry]:
    yield from _layer(f"{ldm}.in_layers.0", f"{diffusers}.norm1", (before,))
    yield from _layer(f"{ldm}.in_layers.2", f"{diffusers}.conv1", (after, before, 3, 3))
    yield from _layer(f"{ldm}.emb_layers.1", f"{diffusers}.time_emb_proj", (after, time))
    yield from _layer(f"{ldm}.out_layers.0", f"{diffusers}.norm2", (after,))
    yield from _layer(f"{ldm}.out_layers.3", f"{diffusers}.conv2", (after, after, 3, 3))
    if before != after:
        yield from _layer(f"{ldm}.skip_connection", f"{diffusers}.conv_shortcut", (after, before, 1, 1))


def _transformer(ldm: str, diffusers: str, size: int, plan: UnetPlan, depth: int) -> Iterator[Entry]:
    around = (size, size) if plan.linear else (size, size, 1, 1)
    layers: list[tuple[str, Shape, bool]] = [("norm", (size,), True), ("proj_in", around, True)]
    for block in range(depth):
        start = f"transformer_blocks.{block}"
        for attention, read in (("attn1", size), ("attn2", plan.width)):
            layers += [(f"{start}.{attention}.to_q", (size, size), False)]
            layers += [(f"{start}.{attention}.{part}", (size, read), False) for part in ("to_k", "to_v")]
            layers += [(f"{start}.{attention}.to_out.0", (size, size), True)]
        layers += [(f"{start}.ff.net.0.proj", (8 * size, size), True), (f"{start}.ff.net.2", (size, 4 * size), True)]
        layers += [(f"{start}.norm{number}", (size,), True) for number in (1, 2, 3)]
    layers += [("proj_out", around, True)]
    for name, shape, bias in layers:
        yield from _layer(f"{ldm}.{name}", f"{diffusers}.{name}", shape, bias=bias)


def _control(plan: UnetPlan) -> Iterator[Entry]:
    yield from _encoder(plan)
    steps = (3, 16, 16, 32, 32, 96, 96, 256)
    for place, (before, after) in enumerate(pairwise(steps)):
        name = f"blocks.{place - 1}" if place else "conv_in"
        yield from _layer(f"input_hint_block.{2 * place}", f"controlnet_cond_embedding.{name}", (after, before, 3, 3))
    last = (plan.channels, 256, 3, 3)
    yield from _layer("input_hint_block.14", "controlnet_cond_embedding.conv_out", last)
    for place, size in enumerate(_skips(plan)):
        yield from _layer(f"zero_convs.{place}.0", f"controlnet_down_blocks.{place}", (size, size, 1, 1))
    size = plan.sizes[-1]
    yield from _layer("middle_block_out.0", "controlnet_mid_block", (size, size, 1, 1))


def _vae() -> Iterator[Entry]:
    yield from _vae_half("encoder", "down", (128, 128, 256, 512, 512), 2)
    yield from _layer("encoder.conv_out", "encoder.conv_out", (8, 512, 3, 3))
    yield from _layer("quant_conv", "quant_conv", (8, 8, 1, 1))
    yield from _layer("post_quant_conv", "post_quant_conv", (4, 4, 1, 1))
    yield from _vae_half("decoder", "up", (512, 512, 512, 256, 128), 3)
    yield from _layer("decoder.conv_out", "decoder.conv_out", (3, 128, 3, 3))


def _vae_half(half: str, way: str, sizes: tuple[int, ...], blocks: int) -> Iterator[Entry]:
    """Encoder or decoder. sizes: channels before each level and after the last; LDM counts decoder levels down."""
    inner = 512
    yield from _layer(f"{half}.conv_in", f"{half}.conv_in", (sizes[0], 3 if way == "down" else 4, 3, 3))
    for level, (before, size) in enumerate(pairwise(sizes)):
        ldm = f"{half}.{way}.{level if way == 'down' else 3 - level}"
        diffusers, scale = f"{half}.{way}_blocks.{level}", f"{way}sample"
        for block in range(blocks):
            first = before if block == 0 else size
            yield from _vae_resnet(f"{ldm}.block.{block}", f"{diffusers}.resnets.{block}", first, size)
        if level < 3:
            yield from _layer(f"{ldm}.{scale}.conv", f"{diffusers}.{scale}rs.0.conv", (size, size, 3, 3))
    yield from _vae_resnet(f"{half}.mid.block_1", f"{half}.mid_block.resnets.0", inner, inner)
    yield from _layer(f"{half}.mid.attn_1.norm", f"{half}.mid_block.attentions.0.group_norm", (inner,))
    for ldm, diffusers in (("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("proj_out", "to_out.0")):
        there = f"{half}.mid_block.attentions.0.{diffusers}"
        yield from _layer(f"{half}.mid.attn_1.{ldm}", there, (inner, inner, 1, 1))
    yield from _vae_resnet(f"{half}.mid.block_2", f"{half}.mid_block.resnets.1", inner, inner)
    yield from _layer(f"{half}.norm_out", f"{half}.conv_norm_out", (sizes[-1],))


def _vae_resnet(ldm: str, diffusers: str, before: int, after: int) -> Iterator[Entry]:
    yield from _layer(f"{ldm}.norm1", f"{diffusers}.norm1", (before,))
    yield from _layer(f"{ldm}.conv1", f"{diffusers}.conv1", (after, before, 3, 3))
    yield from _layer(f"{ldm}.norm2", f"{diffusers}.norm2", (after,))
    yield from _layer(f"{ldm}.conv2", f"{diffusers}.conv2", (after, after, 3, 3))
    if before != after:
        yield from _layer(f"{ldm}.nin_shortcut", f"{diffusers}.conv_shortcut", (after, before, 1, 1))
