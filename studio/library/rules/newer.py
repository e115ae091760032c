"""Files for other models than the studio's, which are named where that is sure: their owner should know why they do not
work here. They stay unknown.

Source: diffusers 0.42.1, loaders/single_file_utils.py, CHECKPOINT_KEY_NAMES.
"""

from studio.library.identity import Identity
from studio.library.rules.subject import Subject

PREFIXES = ("", "model.diffusion_model.", "transformer.", "diffusion_model.", "model.")
MODELS = (  # what it is, and names that only it has: all of one line
    ("a FLUX.2 model", ("single_stream_modulation.lin.weight",)),
    ("a Chroma model", ("distilled_guidance_layer.in_proj.bias",)),
    ("a FLUX.1 model", ("double_blocks.0.img_attn.norm.key_norm.scale", "single_blocks.0.linear1.weight")),
    (
        "a FLUX.1 model",
        ("transformer_blocks.0.attn.norm_added_k.weight", "single_transformer_blocks.0.attn.norm_k.weight"),
    ),
    ("a Stable Diffusion 3 model", ("joint_blocks.0.context_block.adaLN_modulation.1.bias",)),
    ("a Stable Diffusion 3 model", ("transformer_blocks.0.attn.add_k_proj.weight", "pos_embed.proj.weight")),
    ("an AuraFlow model", ("double_layers.0.attn.w2q.weight", "cond_seq_linear.weight")),
    ("a Stable Cascade model", ("clip_txt_mapper.weight",)),
    ("a Stable Cascade model", ("down_blocks.1.0.channelwise.0.weight",)),
    ("a Qwen-Image model", ("transformer_blocks.0.img_mlp.net.0.proj.weight", "txt_norm.weight")),
    ("a Lumina model", ("cap_embedder.0.weight",)),
    ("a Sana model", ("blocks.0.cross_attn.kv_linear.weight",)),
    ("a HunyuanVideo model", ("txt_in.individual_token_refiner.blocks.0.adaLN_modulation.1.bias",)),
    ("a Wan model", ("head.modulation", "patch_embedding.weight")),
    ("an LTX-Video model", ("patchify_proj.weight", "transformer_blocks.0.scale_shift_table")),
    ("a PixArt model", ("blocks.0.scale_shift_table", "y_embedder.y_embedding")),
    ("a HunyuanDiT model", ("mlp_t5.0.weight", "pooler.positional_embedding")),
    ("a HiDream model", ("double_stream_blocks.0.block.adaLN_modulation.1.bias",)),
    ("a Z-Image model", ("layers.0.adaLN_modulation.0.weight", "x_embedder.weight")),
    ("a Kandinsky model", ("add_embedding.image_norm.weight",)),
    ("a ControlNet for newer models than the studio knows", ("controlnet_x_embedder.weight",)),
    ("a ControlNet for newer models than the studio knows", ("pos_embed_input.proj.weight",)),
    ("a T5 text encoder", ("encoder.block.0.layer.0.SelfAttention.q.weight",)),
    ("a CLIP text encoder alone", ("text_model.encoder.layers.0.self_attn.q_proj.weight",)),
    ("a language model", ("layers.0.self_attn.q_proj.weight", "embed_tokens.weight")),
    ("an adapter of A1111 for previews (VAE-approx)", ("conv1.weight", "conv8.weight")),
    ("a face restorer", ("toRGB.0.weight", "stylegan_decoder.style_mlp.1.weight")),
    ("a face restorer", ("position_emb", "ft_layers.0.self_attn.in_proj_weight")),
)
ANYWHERE = (
    ("a motion module of AnimateDiff", "motion_modules."),
    ("a motion module of AnimateDiff", "temporal_transformer."),
    ("a video model", "time_stack."),
)
ENOUGH = 0.5


def recognise(subject: Subject) -> Identity | None:
    """Something that is known, but not by the studio; None if it is not known at all."""
    for prefix in PREFIXES:
        for what, names in MODELS:
            if all(f"{prefix}{name}" in subject.tensors for name in names):
                return _named(subject, what)
    for what, mark in ANYWHERE:
        if sum(mark in name for name in subject.tensors) > ENOUGH * len(subject.tensors):
            return _named(subject, what)
    return _named(subject, f"made for {said}") if (said := subject.said_other) else None


def _named(subject: Subject, what: str) -> Identity:
    return Identity(
        precision=subject.precision,
        reason=f"It is {what}, which the studio cannot use.",
        evidence="Its tensors have the names that only such a file has.",
        possible=(),
    )
