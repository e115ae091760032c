"""What lets a picture speak as a prompt does: IP-Adapters, and the encoders that look at the picture."""

from dataclasses import dataclass

from studio.library.identity import Identity
from studio.library.names import PLANS, Shape
from studio.library.rules.subject import Subject

ROOTS = {"image_proj", "ip_adapter"}
LAYERS = {"sd1": 16, "sdxl": 70}  # cross-attentions of each UNet
FACE_VECTOR = 512  # of a face recogniser, where a picture's has 768 or more
PLUS_INPUTS = (1280, 1664)  # vectors of CLIP's H and bigG; an adapter of this form for others is for other models
OWN = ("to_k_ip.weight", "to_v_ip.weight")
USED = ("plain", "plus", "plus-face")
IP_REASON = "IP-Adapters of this kind need another sort of encoder, and cannot be used yet."
ENCODER_REASON = "Image encoders of this kind cannot be used yet; CLIP's, as transformers writes them, can."


def recognise(subject: Subject) -> Identity | None:
    """An IP-Adapter or an image encoder; None if it is neither."""
    return _ip_adapter(subject) if ROOTS & subject.roots.keys() else _image_encoder(subject)


def _ip_adapter(subject: Subject) -> Identity | None:
    """Source: tencent-ailab/IP-Adapter, ip_adapter.py and ip_adapter_faceid.py; diffusers, loaders/unet.py."""
    keys = {name: info.shape for name, info in subject.tensors.items() if name.endswith(OWN)}
    if subject.roots.keys() - ROOTS or not keys:
        return None
    widths = {shape[1:2] for shape in keys.values()}
    width = next(iter(widths))[0] if len(widths) == 1 and () not in widths else 0
    base = next((base for base in LAYERS if PLANS[base].width == width), "unknown")
    family = _ip_family(subject)
    inputs = subject.size("image_proj.proj_in.weight", 1)
    if base != "unknown" and (
        len(keys) > 2 * LAYERS[base] or (family.startswith("plus") and inputs not in PLUS_INPUTS)
    ):
        base = "unknown"
    return Identity(
        kind="ip_adapter",
        base=base,
        family=family,
        precision=subject.precision,
        usable=base != "unknown" and family in USED,
        reason="" if base != "unknown" and family in USED else IP_REASON,
        width=width,
        features=(subject.size("image_proj.proj.weight", 1), 0) if family == "plain" else (0, inputs),
        evidence=f"It is an IP-Adapter ({family}) for {len(keys) // 2} attentions that read texts of width {width}.",
    )


def _ip_family(subject: Subject) -> str:
    face = subject.name_has("face")
    if subject.under("image_proj.perceiver_resampler."):
        return "faceid-plus"
    if subject.shape("image_proj.latents"):
        if subject.size("image_proj.proj_in.weight", 1) == FACE_VECTOR:
            return "instantid"
        return "plus-face" if face else "plus"
    if subject.shape("image_proj.proj.3.weight"):
        return "full-face" if face else "full"
    if subject.shape("image_proj.proj.0.weight"):
        return "faceid" if subject.size("image_proj.proj.0.weight", 1) == FACE_VECTOR else "unknown"
    return "plain" if subject.shape("image_proj.proj.weight") else "unknown"


@dataclass(frozen=True)
class Vision:
    """An image encoder: its width, its projection, what it is called."""

    width: int
    projected: int
    name: str


VISIONS = (
    Vision(1280, 1024, "CLIP ViT-H"),
    Vision(1664, 1280, "CLIP ViT-bigG"),
    Vision(1024, 768, "CLIP ViT-L"),
    Vision(768, 512, "CLIP ViT-B"),
    Vision(1152, 0, "SigLIP"),
)
SPELLINGS = (  # the class embedding, and the projection with the place of its output
    ("vision_model.embeddings.class_embedding", "visual_projection.weight", 0),
    ("visual.class_embedding", "visual.proj", 1),
)


def _image_encoder(subject: Subject) -> Identity | None:
    """As transformers or open_clip spells it; in open_clip's files the text encoder comes with it."""
    roots = subject.roots
    if not (roots.get("vision_model") or (roots.get("visual") and subject.under("visual.transformer.resblocks."))):
        return None
    vision = next((vision for spelling in SPELLINGS if (vision := _vision(subject, *spelling))), None)
    if subject.under("vision_model.head."):
        vision = VISIONS[-1]
    usable = vision is not None and vision.projected > 0 and subject.under("visual_projection.")
    return Identity(
        kind="image_encoder",
        family=vision.name if vision else "",
        precision=subject.precision,
        usable=usable,
        reason="" if usable else ENCODER_REASON,
        width=vision.width if vision else 0,
        features=(vision.projected, vision.width) if vision else (),
        evidence=f"It is the image encoder of {vision.name}."
        if vision
        else "It is an image encoder that is not known here.",
    )


def _vision(subject: Subject, embedding: str, projection: str, out: int) -> Vision | None:
    shape: Shape = subject.shape(embedding)
    projected = subject.size(projection, out)
    return next((v for v in VISIONS if shape == (v.width,) and projected in (v.projected, 0)), None)
