"""What a folder in diffusers' layout is: from its descriptions and the headers of its files."""

import json
import re
from pathlib import Path
from typing import Any, cast

from studio.library.card import Card
from studio.library.header import HeaderError, TensorInfo
from studio.library.identity import Identity, guess_control_kind, precision
from studio.library.names import BASES_BY_WIDTH
from studio.library.pickles import header_of

DESCRIPTIONS = ("model_index.json", "config.json")
WEIGHTS = ("diffusion_pytorch_model", "model", "pytorch_model")  # what diffusers and transformers call weights
VARIANTS = ("", ".fp16", ".bf16", ".fp32", ".non_ema", ".ema")
ENDINGS = ("safetensors", "bin")
WEIGHTED = ("unet", "vae", "text_encoder")
TOKENIZED = ("tokenizer",)
SECOND = ("text_encoder_2", "tokenizer_2")  # what SDXL has beside
UNREADABLE = (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError)
CHANNELS = {4: "normal", 9: "inpaint", 5: "depth", 8: "edit"}
PIPELINE = re.compile(r"(StableDiffusion|LatentConsistencyModel|AltDiffusion)(?!3|Cascade)")
VAE_BASES = ((0.13025, "sdxl"), (0.18215, "sd1"))  # by the scaling factor; SD 2 has that of SD 1
COMPONENTS = {  # class -> kind, and why it is not usable yet
    "AutoencoderTiny": ("taesd", "Tiny autoencoders are for previews; the studio cannot use them yet."),
    "UNet2DConditionModel": ("checkpoint", "It holds a UNet without text encoder: take the whole checkpoint."),
}
CONTROLS = {"T2IAdapter": "t2i_adapter", "ControlNetUnionModel": "controlnet", "IPAdapter": "ip_adapter"}
ENCODERS = ("CLIPVisionModelWithProjection", "CLIPModel")
SD_WIDTH = 320  # of the first level of SD's and SDXL's UNets
T2I_BASES = {"full_adapter": "sd1", "light_adapter": "sd1", "full_adapter_xl": "sdxl"}


def identify_folder(folder: Path) -> Identity:
    """A diffusers checkpoint, one of its parts, or unknown with the reason."""
    try:
        if (folder / "model_index.json").is_file():
            return _checkpoint(folder)
        if (folder / "config.json").is_file():
            return _component(folder)
    except UNREADABLE as error:
        return Identity(reason=f"Its description cannot be read: {error}.")
    return Identity(reason="It has no model_index.json and no config.json.")


def weights_of(folder: Path) -> list[Path]:
    """The files that a part's weights are loaded from: one, or the shards that an index names, there or not.

    Safetensors come before pickles, and unmarked names before variants such as fp16. Empty, if there are none.
    Raises: one of UNREADABLE, if the index cannot be read.
    """
    for ending in ENDINGS:
        for variant in VARIANTS:
            for stem in WEIGHTS:
                whole = folder / f"{stem}{variant}.{ending}"
                if whole.is_file():
                    return [whole]
                for index in (f"{stem}.{ending}.index{variant}.json", f"{stem}{variant}.{ending}.index.json"):
                    if (folder / index).is_file():
                        named = {str(name) for name in dict(_json(folder / index)["weight_map"]).values()}
                        return [folder / Path(name).name for name in sorted(named)]
    return []


def precision_of(folder: Path) -> str:
    """The precision that most of the folder's weights are stored in, by its first file."""
    try:
        return precision(header_of(weights_of(folder)[0]).tensors.values())
    except (IndexError, *UNREADABLE):
        return "unknown"


def _checkpoint(folder: Path) -> Identity:
    pipeline = str(_json(folder / "model_index.json").get("_class_name") or "StableDiffusionPipeline")
    if not PIPELINE.match(pipeline):
        return Identity(reason=f"It is for {pipeline[:60]}, which the studio cannot use.")
    unet = _json(folder / "unet" / "config.json")
    scheduler = _json(folder / "scheduler" / "scheduler_config.json")
    card = Card.read(folder / "card.json") if (folder / "card.json").is_file() else None
    width = int(unet.get("cross_attention_dim") or 0)
    base = card.base if card else BASES_BY_WIDTH.get(width, "unknown")
    channels = int(unet.get("in_channels", 4))
    prediction = str(scheduler.get("prediction_type", "epsilon"))
    if card is None:
        card = Card(
            name=folder.name,
            base=base,
            native_size=int(unet.get("sample_size") or 64) * 8,
            prediction_type=prediction,
            timestep_spacing=str(scheduler.get("timestep_spacing", "leading")),
        )
    reason = _refusal(folder, base, channels)
    return Identity(
        kind="checkpoint",
        base=base,
        variant=CHANNELS.get(channels, "unknown"),
        prediction_type=prediction,
        zero_snr=scheduler.get("rescale_betas_zero_snr") is True,
        precision=precision_of(folder / "unet"),
        usable=not reason,
        reason=reason,
        card=card,
        width=width,
        evidence=f"Its configuration says so: a UNet that reads texts of width {width} and takes {channels} channels.",
    )


def _refusal(folder: Path, base: str, channels: int) -> str:
    if base == "sdxl-refiner":
        return "The SDXL refiner cannot be used yet: it only finishes what a base checkpoint began."
    if CHANNELS.get(channels) not in ("normal", "inpaint"):
        return f"Its UNet takes {channels} channels; only those that take 4 or 9 can be used yet."
    second = SECOND if base == "sdxl" else ()
    for part in (*WEIGHTED, *TOKENIZED, *second):
        if not (folder / part).is_dir():
            return f"Its folder {part} is missing."
    weighted = (folder / part for part in (*WEIGHTED, *second[:1]))
    return next(filter(None, (_weights_refusal(part) for part in weighted)), "") or _unlike(folder, channels)


def _unlike(folder: Path, channels: int) -> str:
    """Why the UNet's weights are not those of its configuration, by the tensor that both speak of."""
    for file in weights_of(folder / "unet"):
        shape = header_of(file).tensors.get("conv_in.weight", TensorInfo("", (), 0, 0)).shape
        if shape and shape[1:2] != (channels,):
            return f"Its UNet's weights are not those of its configuration, which speaks of {channels} channels."
    return ""


def _weights_refusal(folder: Path) -> str:
    """Why the weights of that folder cannot be loaded; "" if they can, as far as their headers tell."""
    try:
        weights = weights_of(folder)
        for file in weights:
            if not file.is_file():
                return f"{file.name} is missing in {folder.name}."
            header_of(file)
        if not weights:
            return f"There are no weights in {folder.name}, or they have other names than diffusers gives them."
    except HeaderError as error:
        return f"The weights in {folder.name} cannot be read: {error}."
    except UNREADABLE as error:
        return f"The weights in {folder.name} cannot be read: {error}."
    return ""


def _component(folder: Path) -> Identity:
    config = _json(folder / "config.json")
    name = str(config.get("_class_name") or next(iter(config.get("architectures") or ()), "model"))
    if name in COMPONENTS:
        return _unusable(folder, config, name)
    if name == "AutoencoderKL":
        return _vae(folder, config)
    if name in CONTROLS:
        return _control(folder, config, name)
    if name in ENCODERS:
        return _image_encoder(folder, config, name)
    if "conditioning_embedding_out_channels" in config:
        return _control_net(folder, config)
    return Identity(reason=f"A {name[:60]} of this kind cannot be used yet.")


def _unusable(folder: Path, config: dict[str, Any], name: str) -> Identity:
    kind, reason = COMPONENTS[name]
    width = int(config.get("cross_attention_dim") or 0)
    return Identity(
        kind=kind,
        base=BASES_BY_WIDTH.get(width, "unknown"),
        precision=precision_of(folder),
        reason=reason,
        width=width,
        evidence=f"Its configuration says that it is a {name}.",
    )


def _control(folder: Path, config: dict[str, Any], name: str) -> Identity:
    """What controls beside plain ControlNets; a card beside it says more."""
    said, width = _said(folder), int(config.get("cross_attention_dim") or 0)
    kind, reason = CONTROLS[name], _weights_refusal(folder)
    shown = "union" if name == "ControlNetUnionModel" else guess_control_kind(folder.name)
    known = BASES_BY_WIDTH.get(width, "unknown")
    if name == "T2IAdapter" and next(iter(config.get("channels") or [SD_WIDTH])) == SD_WIDTH:
        known = T2I_BASES.get(str(config.get("adapter_type")), "unknown")
    return Identity(
        kind=kind,
        base=str(said.get("base") or known),
        control_kind="" if kind == "ip_adapter" else str(said.get("control_kind") or shown),
        precision=precision_of(folder),
        usable=not reason,
        reason=reason,
        width=width,
        features=_features(config.get("features")),
        family="plain" if kind == "ip_adapter" else "",
        evidence=f"Its configuration says that it is a {name}.",
    )


def _image_encoder(folder: Path, config: dict[str, Any], name: str) -> Identity:
    vision = config.get("vision_config") or config
    width, reason = int(vision.get("hidden_size") or 0), _weights_refusal(folder)
    return Identity(
        kind="image_encoder",
        base=str(_said(folder).get("base") or "unknown"),
        precision=precision_of(folder),
        usable=not reason,
        reason=reason,
        width=width,
        features=(int(config.get("projection_dim") or 0), width),
        evidence=f"Its configuration says that it is a {name}.",
    )


def _features(said: Any) -> tuple[int, ...]:
    return tuple(int(number) for number in cast(list[Any], said)) if isinstance(said, list) else ()


def _said(folder: Path) -> dict[str, Any]:
    """What the card beside a control model says of it."""
    return _json(folder / "card.json") if (folder / "card.json").is_file() else {}


def _vae(folder: Path, config: dict[str, Any]) -> Identity:
    factor = float(config.get("scaling_factor") or 0)
    latents = _latents(folder) or int(config.get("latent_channels") or 4)
    base = next((base for known, base in VAE_BASES if abs(factor - known) < 1e-4), "unknown")
    more = f"Its latents have {latents} channels: it is for newer models than the studio knows." if latents != 4 else ""
    reason = more or _weights_refusal(folder)
    return Identity(
        kind="vae",
        base=base if latents == 4 else "unknown",
        precision=precision_of(folder),
        usable=not reason,
        reason=reason,
        evidence=f"Its configuration says that it is a VAE whose latents are scaled by {factor:g}.",
        possible=None if latents == 4 else (),
    )


def _latents(folder: Path) -> int:
    """The channels of a VAE's latents, by its weights; 0 if they cannot be read."""
    try:
        shapes = [header_of(file).tensors.get("decoder.conv_in.weight") for file in weights_of(folder)]
    except UNREADABLE:
        return 0
    return next((info.shape[1] for info in shapes if info is not None and len(info.shape) == 4), 0)


def _control_net(folder: Path, config: dict[str, Any]) -> Identity:
    said = _said(folder)
    width = int(config.get("cross_attention_dim") or 0)
    base = str(said.get("base") or BASES_BY_WIDTH.get(width, "unknown"))
    reason = _weights_refusal(folder)
    return Identity(
        kind="controlnet",
        base=base,
        control_kind=str(said.get("control_kind") or guess_control_kind(folder.name)),
        precision=precision_of(folder),
        usable=not reason,
        reason=reason,
        width=width,
        evidence=f"Its configuration says that it is a ControlNet that reads texts of width {width}.",
    )


def _json(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    data: Any = json.loads(file.read_text("utf-8"))
    if not isinstance(data, dict):
        raise ValueError(f"{file.name} is no JSON object")
    return cast(dict[str, Any], data)
