"""Files of weights with real names and shapes and no weights: their data is a hole in the file."""

import json
import math
import struct
from dataclasses import dataclass, field

from studio.library.header import BITS
from studio.library.names import (
    DIFFUSERS,
    LDM,
    clip_names,
    control_names,
    open_clip_names,
    unet_names,
    vae_names,
)

UNET, VAE = "model.diffusion_model.", "first_stage_model."


@dataclass(frozen=True)
class Case:
    """A synthetic file, and what it has to be taken for."""

    kind: str
    base: str
    tensors: dict
    name: str = "model"
    usable: bool = False
    family: str = ""
    expected: dict = field(default_factory=dict)
    metadata: dict = field(default_factory=dict)
    place: str = ""


def table(tensors, dtype="F16", metadata=None):
    """The header's JSON as a dict, and the length of the data. A value may be a shape, or (dtype, shape)."""
    entries, offset = {}, 0
    if metadata:
        entries["__metadata__"] = metadata
    for name, value in tensors.items():
        kind, shape = value if value and isinstance(value[0], str) else (dtype, value)
        end = offset + math.prod(shape) * BITS[kind] // 8
        entries[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    return entries, offset


def write_raw(path, header, size):
    """A file with that header and `size` bytes of nothing after it."""
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(header)) + header)
        stream.truncate(8 + len(header) + size)
    return path


def write(path, tensors, dtype="F16", metadata=None):
    """A safetensors file."""
    entries, size = table(tensors, dtype, metadata)
    return write_raw(path, json.dumps(entries).encode(), size)


def write_case(folder, case):
    return write(folder / f"{case.name}.safetensors", case.tensors, metadata=case.metadata)


def with_prefix(prefix, names):
    return {f"{prefix}{name}": shape for name, shape in names.items()}


def unet(base, channels=4, prefix=UNET, spelling=LDM):
    first = ("input_blocks.0.0.weight", "conv_in.weight")[spelling]
    names = dict(unet_names(base, spelling))
    names[first] = (names[first][0], channels, 3, 3)
    return with_prefix(prefix, names)


def texts(base):
    clip_l = clip_names(768, 12)
    positions = {"text_model.embeddings.position_ids": ("I64", (1, 77))}
    big = open_clip_names(1280, 32) | {"text_projection": (1280, 1280), "logit_scale": ()}
    return {
        "sd1": with_prefix("cond_stage_model.transformer.", clip_l | positions),
        "sd2": with_prefix("cond_stage_model.model.", open_clip_names(1024, 24) | {"text_projection": (1024, 1024)}),
        "sdxl": with_prefix("conditioner.embedders.0.transformer.", clip_l | positions)
        | with_prefix("conditioner.embedders.1.model.", big),
        "sdxl-refiner": with_prefix("conditioner.embedders.0.model.", big),
    }[base]


def vae(prefix=VAE):
    return with_prefix(prefix, vae_names(LDM))


def checkpoint(base, channels=4):
    """A whole checkpoint in LDM's layout, with the odds and ends that training leaves."""
    more = {"alphas_cumprod": ("F32", (1000,)), "betas": ("F32", (1000,))} if base == "sd1" else {}
    return unet(base, channels) | texts(base) | vae() | more


def unwrapped(tensors):
    """As early programs spelled text encoders."""
    return {name.replace("transformer.text_model.", "transformer."): shape for name, shape in tensors.items()}


def turbo(tensors):
    """As SD-Turbo, which is an SD 2, lies in its file: trained by SDXL's program."""
    names = ("cond_stage_model.model.", "conditioner.embedders.0.model.")
    return {name.replace(*names): shape for name, shape in tensors.items()}


def control(base, spelling=DIFFUSERS, prefix=""):
    return with_prefix(prefix, control_names(base, spelling))


def control_lora(base, rank=8):
    """A ControlLoRA: low-rank matrices for the UNet's layers, and ControlNet's own layers whole."""
    tensors = {"lora_controlnet": (0,)}
    for name, shape in control_names(base, LDM).items():
        if (
            name.endswith(".weight")
            and len(shape) >= 2
            and not name.startswith(("zero_", "input_hint", "middle_block_o"))
        ):
            stem = name.removesuffix(".weight")
            tensors |= {f"{stem}.up": (shape[0], rank), f"{stem}.down": (rank, *shape[1:])}
        else:
            tensors[name] = shape
    return tensors


def union(base="sdxl"):
    more = {"task_embedding": (6, 320), "spatial_ch_projs.weight": (320, 320), "spatial_ch_projs.bias": (320,)}
    more |= {"transformer_layes.0.attn.in_proj_weight": (960, 320), "transformer_layes.0.ln_1.weight": (320,)}
    return control(base) | more | {"control_add_embedding.linear_1.weight": (1280, 1536)}


def t2i(pixels=192, spelling=LDM):
    """A full T2I-Adapter. pixels: channels after unshuffling."""
    names = {"conv_in.weight": (320, pixels, 3, 3), "conv_in.bias": (320,)}
    for level, (before, size) in enumerate(((320, 320), (320, 640), (640, 1280), (1280, 1280))):
        for block in range(2):
            ldm, diffusers = f"body.{2 * level + block}", f"body.{level}.resnets.{block}"
            start = (ldm, diffusers)[spelling]
            names |= {f"{start}.block1.weight": (size, size, 3, 3), f"{start}.block1.bias": (size,)}
            names |= {f"{start}.block2.weight": (size, size, 1, 1), f"{start}.block2.bias": (size,)}
        if before != size:
            start = (f"body.{2 * level}", f"body.{level}")[spelling]
            names |= {f"{start}.in_conv.weight": (size, before, 1, 1), f"{start}.in_conv.bias": (size,)}
    return with_prefix(("", "adapter.")[spelling], names)


def t2i_light(spelling=LDM):
    names = {}
    for level, (before, inner, size) in enumerate(
        ((192, 80, 320), (320, 160, 640), (640, 320, 1280), (1280, 320, 1280))
    ):
        names |= {f"body.{level}.in_conv.weight": (inner, before, 1, 1), f"body.{level}.in_conv.bias": (inner,)}
        for block in range(4):
            start = f"body.{level}.{('body', 'resnets')[spelling]}.{block}"
            names |= {f"{start}.block1.weight": (inner, inner, 3, 3), f"{start}.block2.weight": (inner, inner, 3, 3)}
        names |= {f"body.{level}.out_conv.weight": (size, inner, 1, 1), f"body.{level}.out_conv.bias": (size,)}
    return with_prefix(("", "adapter.")[spelling], names)


def ip_adapter(base, family="plain"):
    width, layers = {"sd1": (768, 16), "sdxl": (2048, 70)}[base]
    names = {
        "plain": {
            "proj.weight": (4 * width, 1024),
            "proj.bias": (4 * width,),
            "norm.weight": (width,),
            "norm.bias": (width,),
        },
        "plus": {"latents": (1, 16, 768), "proj_in.weight": (768, 1280), "proj_out.weight": (width, 768)},
        "full": {"proj.0.weight": (1280, 1280), "proj.2.weight": (width, 1280), "proj.3.weight": (width,)},
        "faceid": {"proj.0.weight": (1024, 512), "proj.2.weight": (4 * width, 1024), "norm.weight": (width,)},
        "faceid-plus": {"proj.0.weight": (1024, 512), "perceiver_resampler.proj_in.weight": (width, 1280)},
        "instantid": {"latents": (1, 16, 1280), "proj_in.weight": (1280, 512), "proj_out.weight": (width, 1280)},
    }[family]
    tensors = with_prefix("image_proj.", names)
    for layer in range(layers):
        start = f"ip_adapter.{2 * layer + 1}"
        tensors |= {f"{start}.to_k_ip.weight": (640, width), f"{start}.to_v_ip.weight": (640, width)}
        if family.startswith("faceid"):
            tensors |= {f"{start}.to_q_lora.down.weight": (8, 640), f"{start}.to_q_lora.up.weight": (640, 8)}
    return tensors


def image_encoder(width, layers, projected, spelling="transformers"):
    if spelling == "transformers":
        names = {"vision_model.embeddings.class_embedding": (width,), "visual_projection.weight": (projected, width)}
        for layer in range(layers):
            start = f"vision_model.encoder.layers.{layer}.self_attn"
            names |= {f"{start}.{part}_proj.weight": (width, width) for part in ("q", "k", "v", "out")}
        return names
    names = {
        "visual.class_embedding": (width,),
        "visual.proj": (width, projected),
        "visual.conv1.weight": (width, 3, 14, 14),
    }
    for layer in range(layers):
        names[f"visual.transformer.resblocks.{layer}.attn.in_proj_weight"] = (3 * width, width)
    return names | open_clip_names(1024, 2)


ROLES = {  # what each sort stores for a matrix of (out, in), with rank r
    "lora": lambda o, i, r: {"lora_down.weight": (r, i), "lora_up.weight": (o, r), "alpha": ()},
    "dora": lambda o, i, r: {"lora_down.weight": (r, i), "lora_up.weight": (o, r), "dora_scale": (1, i), "alpha": ()},
    "peft": lambda o, i, r: {"lora_A.weight": (r, i), "lora_B.weight": (o, r)},
    "bare": lambda o, i, r: {"lora_A": (r, i), "lora_B": (o, r)},
    "default": lambda o, i, r: {"lora_A.default.weight": (r, i), "lora_B.default.weight": (o, r)},
    "diffusers": lambda o, i, r: {"lora.down.weight": (r, i), "lora.up.weight": (o, r)},
    "linear": lambda o, i, r: {"lora_linear_layer.down.weight": (r, i), "lora_linear_layer.up.weight": (o, r)},
    "loha": lambda o, i, r: {
        "hada_w1_a": (o, r),
        "hada_w1_b": (r, i),
        "hada_w2_a": (o, r),
        "hada_w2_b": (r, i),
        "alpha": (),
    },
    "underscore": lambda o, i, r: {"_lora.down.weight": (r, i), "_lora.up.weight": (o, r)},
    "reshaped": lambda o, i, r: {
        "lora_down.weight": (r, i),
        "lora_up.weight": (o, r),
        "alpha": (),
        "reshape_weight": (2,),
    },
    "loha-tucker": lambda o, i, r: {
        "hada_w1_a": (r, o),
        "hada_w1_b": (r, i),
        "hada_t1": (r, r, 3, 3),
        "hada_w2_a": (r, o),
        "hada_w2_b": (r, i),
        "hada_t2": (r, r, 3, 3),
    },
    "lokr-whole": lambda o, i, r: {"lokr_w1": (8, 8), "lokr_w2": (o // 8, i // 8)},
    "lokr-both": lambda o, i, r: {
        "lokr_w1_a": (8, 2),
        "lokr_w1_b": (2, 8),
        "lokr_w2_a": (o // 8, r),
        "lokr_w2_b": (r, i // 8),
    },
    "lokr-tucker": lambda o, i, r: {
        "lokr_w1": (8, 8),
        "lokr_w2_a": (r, o // 8),
        "lokr_w2_b": (r, i // 8),
        "lokr_t2": (r, r, 3, 3),
    },
    "set": lambda o, i, r: {"set_weight": (o, i)},
    "lokr": lambda o, i, r: {"lokr_w1": (8, 8), "lokr_w2_a": (o // 8, r), "lokr_w2_b": (r, i // 8), "alpha": ()},
    "oft": lambda o, i, r: {"oft_blocks": (8, o // 8, o // 8), "alpha": ()},
    "boft": lambda o, i, r: {"oft_blocks": (2, 8, o // 8, o // 8), "rescale": (o, 1), "alpha": ()},
    "oft-diag": lambda o, i, r: {"oft_diag": (8, o // 8, o // 8)},
    "boft-diag": lambda o, i, r: {"oft_diag": (2, 8, o // 8, o // 8)},
    "oft-peft": lambda o, i, r: {"oft_R.weight": (i // 32, 32 * 31 // 2)},
    "oft-named": lambda o, i, r: {"oft_R.default.weight": (i // 32, 32 * 31 // 2)},
    "oft-shared": lambda o, i, r: {"oft_R.weight": (1, 32 * 31 // 2)},
    "boft-peft": lambda o, i, r: {"boft_R": (2, i // 8, 8, 8), "boft_s": (o, 1)},
    "boft-named": lambda o, i, r: {"boft_R.default": (1, i // 8, 8, 8), "boft_s.default": (o, 1)},
    "glora": lambda o, i, r: {"a1.weight": (i, r), "a2.weight": (r, i), "b1.weight": (o, r), "b2.weight": (r, i)},
    "ia3": lambda o, i, r: {"weight": (o, 1), "on_input": ()},
    "full": lambda o, i, r: {"diff": (o, i), "diff_b": (o,)},
}


def lora(base, family="lora", *, start="lora_unet_", spelling=DIFFUSERS, texted=False, only="", rank=4):
    """A change of every attention of a UNet. only: a part of the names that modules have to have."""
    tensors = {}
    for name, shape in unet_names(base, spelling).items():
        if len(shape) == 2 and "attn" in name and name.endswith(".weight") and only in name:
            module = name.removesuffix(".weight")
            module = start + (module.replace(".", "_") if start.endswith("_") else module)
            roles = ROLES[family](*shape, rank).items()
            tensors |= {f"{module}{'' if role.startswith('_') else '.'}{role}": size for role, size in roles}
    return tensors | (text_lora(base, family) if texted else {})


def text_lora(base, family="lora", starts=None):
    encoders = {
        "sd1": (("lora_te_", 768, 12),),
        "sd2": (("lora_te_", 1024, 23),),
        "sdxl": (("lora_te1_", 768, 12), ("lora_te2_", 1280, 32)),
    }[base]
    tensors = {}
    for start, width, layers in starts or encoders:
        for layer in range(layers):
            for part in ("q_proj", "out_proj"):
                module = f"{start}text_model_encoder_layers_{layer}_self_attn_{part}"
                tensors |= {f"{module}.{role}": size for role, size in ROLES[family](width, width, 4).items()}
    return tensors


def norms(base):
    """A change of nothing but norms."""
    tensors = {}
    for name, shape in unet_names(base, DIFFUSERS).items():
        if ".norm" in name:
            module, _, part = name.rpartition(".")
            tensors[f"lora_unet_{module.replace('.', '_')}.{part[0]}_norm"] = shape
    return tensors


def processors(base):
    """As diffusers saved LoRA before 0.22, with each attention's processor."""
    tensors = {}
    for name, shape in unet_names(base, DIFFUSERS).items():
        attention, _, part = name.rpartition(".to_")
        if attention.endswith(("attn1", "attn2")) and name.endswith(".weight"):
            start = f"unet.{attention}.processor.to_{part.split('.')[0]}_lora"
            tensors |= {f"{start}.down.weight": (4, shape[1]), f"{start}.up.weight": (shape[0], 4)}
    return tensors


def kernels(base, family="lora"):
    """A change of convolutions, as LoCon has it."""
    return {
        "lora_unet_down_blocks_0_resnets_0_conv1.lora_down.weight": (4, 320, 3, 3),
        "lora_unet_down_blocks_0_resnets_0_conv1.lora_up.weight": (320, 4, 1, 1),
    } | lora(base, family)


def hypernetwork(*widths):
    tensors = {}
    for width in widths:
        for half in "01":
            start = f"{width}.{half}.linear"
            tensors |= {f"{start}.0.weight": (2 * width, width), f"{start}.0.bias": (2 * width,)}
            tensors |= {f"{start}.1.weight": (width, 2 * width), f"{start}.1.bias": (width,)}
    return tensors


def taesd_half(half, start, first=None):
    """Half of a tiny autoencoder. first: where the decoder's numbers begin: 1 with its authors, 0 in diffusers."""
    convs = {"encoder": {0: (64, 3), 2: (64, 64), 6: (64, 64), 10: (64, 64), 14: (4, 64)}}
    blocks = {"encoder": (1, 3, 4, 5, 7, 8, 9, 11, 12, 13)}
    if half == "decoder":
        middle = {place + first: (64, 64) for place in (6, 11, 16)}
        convs["decoder"] = {first: (64, 4), **middle, 18 + first: (3, 64)}
    blocks["decoder"] = tuple(place + (first or 0) for place in (2, 3, 4, 7, 8, 9, 12, 13, 14, 17))
    names = {f"{start}{place}.weight": (*shape, 3, 3) for place, shape in convs[half].items()}
    for place in blocks[half]:
        names |= {f"{start}{place}.conv.{layer}.weight": (64, 64, 3, 3) for layer in (0, 2, 4)}
    return names


SWIN = {
    "layers.0.residual_group.blocks.0.norm1.weight": (180,),
    "layers.0.residual_group.blocks.0.mlp.fc1.bias": (360,),
    "layers.0.residual_group.blocks.0.attn.relative_position_index": ("I64", (64, 64)),
    "conv_first.weight": (180, 3, 3, 3),
}
DAT = {
    "conv_first.weight": (180, 3, 3, 3),
    "before_RG.1.weight": (180,),
    "layers.0.blocks.0.attn.attns.0.rpe_biases": (961, 2),
    "layers.0.blocks.0.attn.dwconv.0.weight": (180, 1, 3, 3),
    "layers.0.blocks.0.ffn.fc1.weight": (360, 180),
}
UPSCALERS = {
    "ESRGAN": {"model.0.weight": (64, 3, 3, 3), "model.1.sub.0.RDB1.conv1.0.weight": (32, 64, 3, 3)},
    "Real-ESRGAN": {
        "conv_first.weight": (64, 3, 3, 3),
        "body.0.rdb1.conv1.weight": (32, 64, 3, 3),
        "conv_body.weight": (64, 64, 3, 3),
        "conv_last.weight": (3, 64, 3, 3),
    },
    "RRDBNet": {
        "conv_first.weight": (64, 3, 3, 3),
        "RRDB_trunk.0.RDB1.conv1.weight": (32, 64, 3, 3),
        "trunk_conv.weight": (64, 64, 3, 3),
        "conv_last.weight": (3, 64, 3, 3),
    },
    "Real-ESRGAN Compact": {"body.0.weight": (64, 3, 3, 3), "body.1.weight": (64,), "body.2.weight": (64, 64, 3, 3)},
    "SwinIR": SWIN,
    "Swin2SR": SWIN | {"patch_embed.proj.weight": (180, 180, 1, 1)},
    "HAT": SWIN | {"layers.0.residual_group.overlap_attn.relative_position_bias_table": (1521, 6)},
    "DAT": DAT,
}
FLUX = {
    "double_blocks.0.img_attn.norm.key_norm.scale": (128,),
    "single_blocks.0.linear1.weight": (21504, 3072),
    "img_in.weight": (3072, 64),
}
