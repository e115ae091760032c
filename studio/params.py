"""What a person asked for, as plain data: everything that changes the pixels, and nothing else.

A `GenerationRequest` may leave fields blank; services resolve it once into frozen `GenerationParams`, in which
nothing is left to choose. Only params are queued, written into the PNG and replayed. No torch and no gradio here.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

from studio.errors import InvalidRequestError
from studio.plain import read_plain

PARAMS_VERSION = 1
CONTROL_MODES = ("balanced", "prompt", "control")
RESIZE_MODES = ("crop", "fill", "stretch")
METHODS = ("full", "style", "composition")
PROMPT_MODES = ("typed", "none", "default", "automatic")
WEIGHTINGS = ("a1111", "no_norm", "comfy", "compel", "none")  # how (word:1.2) weighs: studio.engine.weighting
FILLS = ("original", "fill", "noise", "nothing")
ADAPTER_KINDS = ("lora", "hypernetwork")
CURVES = ("constant", "rise", "fall")
PARTS = ("unet", "text_encoder", "text_encoder_2")
WEIGHT_MAX, ADAPTERS_MAX, BLOCKS_MAX, RANK_MAX = 4, 100, 200, 4096
REGIONS_MAX, SOFTNESS_MAX = 8, 0.25
PADDING_MAX, BLUR_MAX = 512, 64
MASK_BLUR = 4  # pixels, as in A1111


@dataclass(frozen=True, kw_only=True)
class Region:
    """A part of the picture with words of its own.

    Fields:
        color: Of its area in the map, as "#rrggbb".
        words: What it shows; without any the prompt alone decides there.
        weight: How much its words count there, 0 to 1; the rest of 1 is left to the prompt.
    """

    color: str
    words: str = ""
    weight: float = 1.0

    def __post_init__(self) -> None:
        check_range("weight", self.weight, 0, 1)
        if not re.fullmatch(r"#[0-9a-fA-F]{6}", self.color):
            raise InvalidRequestError(
                f"A region's color is {self.color[:40]!r}.", field="color", hint='Write it as "#e6553c".'
            )


@dataclass(frozen=True, kw_only=True)
class ControlUnit:
    """One image condition of a generation.

    Fields:
        kind: Registry name of the control kind, such as "scribble".
        map: Asset id (sha256) of the finished control image, light on black; of the picture, for a reference. In a
            request it may be "" where there is a source: the map is made of that when the request is submitted.
        images: Asset ids of further pictures, for a reference.
        model: Name of the ControlNet, T2I-Adapter or IP-Adapter; "" lets the studio choose one that fits.
        model_id: Content id of that model; filled when the request is resolved.
        encoder, encoder_id: The same of the image encoder, for an IP-Adapter.
        conditioning_scale: Multiplies what the unit says, 0 to 2; 0 switches it off, 1 is as trained.
        control_guidance_start, control_guidance_end: Active range, as fractions of the steps, 0 to 1.
        mode: "balanced"; "prompt", where the words matter more; "control", where the control does.
        mask: Asset id of a picture that is white where the unit counts; "" is everywhere.
        resize_mode: How a map of another aspect is fitted: "crop", "fill" (whole, with bars) or "stretch".
        fidelity: For reference_only, 0 to 1: how much the picture without words keeps to itself.
        method: What an IP-Adapter takes of its pictures: "full", "style" or "composition".
        regions: For the kind "regions", whose map shows each one's area in its colour: what is said where.
        softness: How softly regions go over into what is around them: the sigma of a Gaussian, as a share of the
            picture's shorter side, 0 to 0.25.
        source, annotator, annotator_options: The picture and the annotator that gave the map, if any.
        editor: Asset id of the editor's data (strokes as JSON), so that the map can be edited again.
    """

    kind: str
    map: str = ""
    images: tuple[str, ...] = ()
    model: str = ""
    model_id: str = ""
    encoder: str = ""
    encoder_id: str = ""
    conditioning_scale: float = 1.0
    control_guidance_start: float = 0.0
    control_guidance_end: float = 1.0
    mode: str = "balanced"
    mask: str = ""
    resize_mode: str = "crop"
    fidelity: float = 0.5
    method: str = "full"
    regions: tuple[Region, ...] = ()
    softness: float = 0.02
    source: str = ""
    annotator: str = ""
    annotator_options: tuple[tuple[str, float], ...] = ()
    editor: str = ""

    def __post_init__(self) -> None:
        check_range("conditioning_scale", self.conditioning_scale, 0, 2)
        check_range("fidelity", self.fidelity, 0, 1)
        check_choice("mode", self.mode, CONTROL_MODES)
        check_choice("resize_mode", self.resize_mode, RESIZE_MODES)
        check_choice("method", self.method, METHODS)
        check_range("softness", self.softness, 0, SOFTNESS_MAX)
        check_count("regions", self.regions, REGIONS_MAX)
        start, end = self.control_guidance_start, self.control_guidance_end
        if not 0 <= start < end <= 1:
            raise InvalidRequestError(
                f"A control's range must satisfy 0 <= start < end <= 1, found {start} and {end}.",
                field="control_guidance_start",
                hint="Give the start and the end as fractions of the steps.",
            )


@dataclass(frozen=True, kw_only=True)
class AdapterRef:
    """One adapter of a generation, in its place of the stack.

    Fields:
        name: Of the file in the library, without its ending.
        id: Content id; filled when the request is resolved.
        kind: "lora", for LoRA files and their kin, or "hypernetwork".
        weight: -4 to 4; 0 is off, 1 as trained.
        text_weight: The same for the text encoders; None is `weight`.
        blocks: Factors for parts of the model, 0 as if it had none there: the beginning of a parameter's name, such as
            "unet.down_blocks.1" or "text_encoder", and -4 to 4. Where several fit, the longest counts.
        start, end: Active range, as fractions of the steps, 0 to 1.
        curve: How the weight goes within the range: "constant", "rise" from 0, or "fall" to 0.
        rank: How many rows of a plain LoRA's factors count, from the first; None is all. A1111's `dyn`.
    """

    name: str
    id: str = ""
    kind: str = "lora"
    weight: float = 1.0
    text_weight: float | None = None
    blocks: tuple[tuple[str, float], ...] = ()
    start: float = 0.0
    end: float = 1.0
    curve: str = "constant"
    rank: int | None = None

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, ADAPTER_KINDS)
        check_choice("curve", self.curve, CURVES)
        check_range("weight", self.weight, -WEIGHT_MAX, WEIGHT_MAX)
        if self.text_weight is not None:
            check_range("text_weight", self.text_weight, -WEIGHT_MAX, WEIGHT_MAX)
        if not 0 <= self.start < self.end <= 1:
            raise InvalidRequestError(
                f"An adapter's range must satisfy 0 <= start < end <= 1, found {self.start} and {self.end}.",
                field="start",
                hint="Give the start and the end as fractions of the steps.",
            )
        if self.rank is not None:
            check_range("rank", self.rank, 1, RANK_MAX)
        check_count("blocks", self.blocks, BLOCKS_MAX)
        for prefix, factor in self.blocks:
            check_choice("blocks", prefix.split(".")[0], PARTS)
            check_range("blocks", factor, -WEIGHT_MAX, WEIGHT_MAX)


@dataclass(frozen=True, kw_only=True)
class EmbeddingRef:
    """An embedding whose name stands in the prompt or in the negative prompt, and its file's content id."""

    name: str
    id: str = ""


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """What a person or a program says; None means "choose for me" (the checkpoint's card, then our default).

    Fields carry diffusers' names where it has one; `mask_image` is white where the picture may change. The fields about
    the mask are explained at `GenerationParams`. prompt_mode says where the words come from: "typed", as they are;
    "none", neither prompt nor negative prompt; "default", the ControlNet paper's sentence; "automatic", a caption of
    the picture that the request has.
    Numbers are checked for range here and against the checkpoint when the request is resolved.
    """

    prompt: str = ""
    negative_prompt: str = ""
    prompt_mode: str = "typed"
    checkpoint: str | None = None
    vae: str | None = None
    width: int | None = None
    height: int | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    scheduler: str | None = None
    sigmas: str | None = None
    timestep_spacing: str | None = None
    seed: int | None = None
    count: int = 1
    clip_skip: int | None = None
    prompt_weighting: str = "a1111"
    controls: tuple[ControlUnit, ...] = ()
    adapters: tuple[AdapterRef, ...] = ()
    init_image: str | None = None
    mask_image: str | None = None
    strength: float | None = None
    mask_padding: int | None = None
    mask_blur: int | None = None
    fill: str | None = None

    def __post_init__(self) -> None:
        check_choice("prompt_mode", self.prompt_mode, PROMPT_MODES)
        check_choice("prompt_weighting", self.prompt_weighting, WEIGHTINGS)
        check_count("adapters", self.adapters, ADAPTERS_MAX)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read JSON or TOML values.

        Raises: InvalidRequestError, naming the field, for unknown fields, wrong types and numbers that are not finite.
        """
        return read_plain(cls, data, "request")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; blank fields are left out."""
        values = {name: value for name, value in asdict(self).items() if value not in (None, (), "")}
        usual = {"prompt_mode": "typed", "prompt_weighting": "a1111"}
        return {name: value for name, value in values.items() if usual.get(name) != value}


@dataclass(frozen=True, kw_only=True)
class GenerationParams:
    """One generation with nothing left to choose; picture i of `count` uses `seed + i`.

    The same params give the same bytes on one device and dtype. Sizes in pixels; scheduler, sigmas and
    timestep_spacing are registry names; strength is the share of the steps that img2img runs (1 without init_image);
    vae names an autoencoder instead of the checkpoint's own.

    prompt, negative_prompt: What is read by the text encoder, wildcards and styles put in and tags of adapters taken
        out; template and negative_template are what was typed, "" where that is the same.
    prompts, negative_prompts: Of each picture, where templates drew something else for each; else empty.
    regional: What the regions of all controls say in each picture, in order, where they say something else in each;
        else empty, and what they say stands in the controls.
    adapters: In the order of the stack; one that is off is not in it.
    embeddings: Those whose names stand in either prompt.

    With a mask the finished picture is laid over the first one, which stays as it was, bit for bit, outside the mask:
        mask_padding: None makes the whole picture anew at width x height. A number takes only the part that is
            painted, and as many pixels around it; it is made at width x height and put back into the picture, which
            keeps its own size ("only masked" of A1111, padding_mask_crop of diffusers). 0 to 512.
        mask_blur: Pixels over which the new goes over into the old, the sigma of a Gaussian; 0 to 64.
        fill: What the painted part begins from: "original", what is there; "fill", the blurred colours around it;
            "noise"; or "nothing", latents of zeros. At a strength of 1 it hardly counts.
    """

    prompt: str
    checkpoint: str
    checkpoint_id: str
    width: int
    height: int
    num_inference_steps: int
    guidance_scale: float
    scheduler: str
    seed: int
    negative_prompt: str = ""
    sigmas: str = "default"
    timestep_spacing: str = "leading"
    prediction_type: str = "epsilon"
    count: int = 1
    clip_skip: int = 0
    prompt_weighting: str = "a1111"
    controls: tuple[ControlUnit, ...] = ()
    adapters: tuple[AdapterRef, ...] = ()
    init_image: str | None = None
    mask_image: str | None = None
    strength: float = 1.0
    mask_padding: int | None = None
    mask_blur: int = MASK_BLUR
    fill: str = "original"
    vae: str | None = None
    vae_id: str = ""
    embeddings: tuple[EmbeddingRef, ...] = ()
    template: str = ""
    negative_template: str = ""
    prompts: tuple[str, ...] = ()
    negative_prompts: tuple[str, ...] = ()
    regional: tuple[tuple[str, ...], ...] = ()
    version: int = PARAMS_VERSION

    def __post_init__(self) -> None:
        if self.mask_padding is not None:
            check_range("mask_padding", self.mask_padding, 0, PADDING_MAX)
        check_range("mask_blur", self.mask_blur, 0, BLUR_MAX)
        check_choice("fill", self.fill, FILLS)
        check_count("adapters", self.adapters, ADAPTERS_MAX)
        for name in ("prompts", "negative_prompts", "regional"):
            if (said := getattr(self, name)) and len(said) != self.count:
                raise InvalidRequestError(f"{name} has {len(said)} texts for {self.count} pictures.", field=name)
        regions = sum(len(unit.regions) for unit in self.controls)
        if any(len(row) != regions for row in self.regional):
            raise InvalidRequestError(f"regional has not {regions} texts for each picture.", field="regional")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote. Raises: InvalidRequestError, for another version or for fields that do not fit."""
        if (version := data.get("version")) != PARAMS_VERSION:
            raise InvalidRequestError(
                f"These settings have version {version!r}; this studio reads version {PARAMS_VERSION}.",
                field="version",
                hint="Update the studio to read them.",
            )
        return read_plain(cls, data, "settings")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, every field present."""
        return asdict(self)

    def picture(self, index: int) -> Self:
        """The params of one of the pictures, from 0, alone."""
        prompt, negative = self.said(index)
        alone = replace(self, count=1, seed=self.seed + index, prompts=(), negative_prompts=(), regional=())
        words = iter(self.regions_say(index))
        controls = tuple(
            replace(unit, regions=tuple(replace(region, words=next(words)) for region in unit.regions))
            for unit in self.controls
        )
        return replace(alone, prompt=prompt, negative_prompt=negative, controls=controls)

    def said(self, index: int) -> tuple[str, str]:
        """Prompt and negative prompt of one of the pictures, from 0."""
        prompt = self.prompts[index] if self.prompts else self.prompt
        return prompt, self.negative_prompts[index] if self.negative_prompts else self.negative_prompt

    def regions_say(self, index: int) -> tuple[str, ...]:
        """What the regions of all controls say in one of the pictures, from 0, in order; "" for those that say none."""
        if self.regional:
            return self.regional[index]
        return tuple(region.words for unit in self.controls for region in unit.regions)

    def texts(self) -> list[str]:
        """All that text encoders are to read for its pictures, each once."""
        said = (text for i in range(self.count) for text in (*self.said(i), *self.regions_say(i)))
        return [text for text in dict.fromkeys(said) if text]

    def models(self) -> dict[str, str]:
        """The name of every model that is needed, by content id."""
        named = {self.checkpoint_id: self.checkpoint, self.vae_id: self.vae or ""}
        for unit in self.controls:
            named |= {unit.model_id: unit.model, unit.encoder_id: unit.encoder}
        named |= {ref.id: ref.name for ref in (*self.adapters, *self.embeddings)}
        return {content: name for content, name in named.items() if content}

    def to_request(self) -> GenerationRequest:
        """The same generation as a request, for editing it again."""
        names = {field.name for field in fields(GenerationRequest)} & {field.name for field in fields(self)}
        return GenerationRequest(**{n: getattr(self, n) for n in names})


def asset_path(root: Path, asset_id: str, suffix: str = ".png") -> Path:
    """Where the asset with that id (64 hex digits) lies under the folder of assets."""
    return root / asset_id[:2] / f"{asset_id}{suffix}"


def check_range(field: str, value: float, low: float, high: float) -> None:
    """Refuse a number that is not finite or not within low to high."""
    if not (math.isfinite(value) and low <= value <= high):
        raise InvalidRequestError(
            f"{field} is {value}, which is not between {low} and {high}.",
            field=field,
            hint=f"Choose a number from {low} to {high}.",
        )


def check_count(field: str, items: Sequence[Any], most: int) -> None:
    """Refuse a list that is too long."""
    if len(items) > most:
        raise InvalidRequestError(
            f"There are {len(items)} {field}; at most {most} are taken.",
            field=field,
            hint="Leave out those that count least.",
        )


def check_choice(field: str, value: str, choices: Sequence[str]) -> None:
    """Refuse a word that is none of those."""
    if value not in choices:
        raise InvalidRequestError(
            f"{field} is {value[:40]!r}.", field=field, hint=f"Choose one of: {', '.join(choices)}."
        )
