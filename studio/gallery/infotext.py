"""Settings as the text that A1111 and its kin write into pictures, and back.

The text is the prompt, then `Negative prompt: ...`, then one line of `Key: value` pairs. Values that hold a comma, a
colon or a line break are JSON strings. Source: the format of stable-diffusion-webui v1.10.1.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from studio import __version__
from studio.errors import InvalidRequestError
from studio.gallery.networks import EMBEDDING_HASHES, LORA_HASHES, hashes, with_tags, without_tags
from studio.params import ControlUnit, GenerationParams, GenerationRequest

SAMPLERS = {
    "ddim": "DDIM",
    "euler": "Euler",
    "euler_a": "Euler a",
    "heun": "Heun",
    "dpmpp_2m": "DPM++ 2M",
    "dpmpp_2m_sde": "DPM++ 2M SDE",
    "unipc": "UniPC",
    "lcm": "LCM",
}
SCHEDULES = {"karras": "Karras", "exponential": "Exponential", "beta": "Beta"}
AUTOMATIC = {"dpmpp_2m": "karras", "dpmpp_2m_sde": "exponential"}
PLAIN_SCHEDULES = {"uniform", "normal", "simple", "ddim", "sgm uniform"}
CONTENTS = {"original": "original", "fill": "fill", "noise": "latent noise", "nothing": "latent nothing"}
USUAL_PADDING = 32
EMPHASIS = {"no_norm": "No norm", "comfy": "Comfy", "compel": "Compel", "none": "Ignore"}  # A1111's names, and ours
MIN_PAIRS = 3
KEY = re.compile(r"\w[\w \-/]+")
QUOTED = re.compile(r'"(?:\\.|[^\\"])+"')
OURS = "Maquette"
SILENT_KEYS = {
    "Model hash",
    "VAE hash",
    "App",
    "Version",
    "User",
    "RNG",
    "Schedule type",
    LORA_HASHES,
    EMBEDDING_HASHES,
}


@dataclass(frozen=True)
class PictureSettings:
    """The settings read from a picture, with a sentence for everything that could not be used."""

    request: GenerationRequest
    notes: tuple[str, ...] = ()


def write_infotext(params: GenerationParams) -> str:
    """The text for one picture: params of a count of 1."""
    pairs = ", ".join(f"{key}: {quote(value)}" for key, value in _values(params).items() if value is not None)
    negative = f"Negative prompt: {params.negative_prompt}" if params.negative_prompt else ""
    return "\n".join(part for part in (with_tags(params), negative, pairs) if part).strip()


def read_infotext(text: str) -> PictureSettings:
    """Settings from such a text, ours or another program's. Never raises: what does not fit becomes a note."""
    prompt, negative, values = split_infotext(text)
    reader = _Reader(values)
    fields = {
        **reader.words(prompt, negative),
        "checkpoint": reader.take("Model", str),
        "vae": reader.vae(),
        "num_inference_steps": reader.take("Steps", int),
        "guidance_scale": reader.take("CFG scale", float),
        "seed": reader.take("Seed", int),
        "clip_skip": reader.clip_skip(),
        "prompt_weighting": reader.weighting(),
        "strength": reader.strength(),
        **reader.mask(),
        **reader.size(),
        **reader.scheduler(),
    }
    reader.note_the_rest()
    return PictureSettings(reader.request(fields), tuple(reader.notes))


def split_infotext(text: str) -> tuple[str, str, dict[str, str]]:
    """Prompt, negative prompt and the pairs of the last line; a last line with under three pairs is prompt."""
    lines = text.strip().split("\n")
    values = parse_pairs(lines[-1])
    if len(values) < MIN_PAIRS:
        values = {}
    else:
        lines.pop()
    start = next((i for i, line in enumerate(lines) if line.strip().startswith("Negative prompt:")), len(lines))
    negative = "\n".join(lines[start:]).strip().removeprefix("Negative prompt:")
    return "\n".join(lines[:start]).strip(), negative.strip(), values


def parse_pairs(line: str) -> dict[str, str]:
    """The `Key: value` pairs of a line, quotes undone; anything else in it is skipped. Takes linear time."""
    pairs: dict[str, str] = {}
    at = 0
    while at < len(line):
        end = line.find(",", at)
        end = len(line) if end < 0 else end
        colon = line.find(":", at, end)
        key = line[at:colon].strip() if colon >= 0 else ""
        if KEY.fullmatch(key):
            start = colon + 1 + (len(line[colon + 1 : end]) - len(line[colon + 1 : end].lstrip()))
            quoted = QUOTED.match(line, start)
            if quoted and line[quoted.end() : quoted.end() + 1] in ("", ","):
                end = quoted.end()
            pairs[key] = unquote(line[start:end].strip())
        at = end + 1
    return pairs


def quote(value: object) -> str:
    """A value as the format writes it: JSON only where a comma, a colon or a line break stands in it."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(c in text for c in ",:\n") else text


def unquote(text: str) -> str:
    """Undo `quote`; text that is no JSON string stays as it is."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, str) else text


def _values(params: GenerationParams) -> dict[str, Any]:
    spaced = "SGM Uniform" if params.timestep_spacing == "trailing" else "Uniform"
    values = {
        "Steps": params.num_inference_steps,
        "Sampler": SAMPLERS.get(params.scheduler, params.scheduler),
        "Schedule type": SCHEDULES.get(params.sigmas, spaced),
        "CFG scale": _number(params.guidance_scale),
        "Seed": params.seed,
        "Size": f"{params.width}x{params.height}",
        "Model hash": params.checkpoint_id[:10] or None,
        "Model": params.checkpoint,
        "VAE hash": params.vae_id[:10] or None,
        "VAE": params.vae,
        "Denoising strength": _number(params.strength) if params.init_image else None,
        **_mask_values(params),
        "Clip skip": params.clip_skip + 1 if params.clip_skip else None,
        "Emphasis": EMPHASIS.get(params.prompt_weighting),
        "Timestep spacing": params.timestep_spacing,
    }
    controls = {f"ControlNet {index}": _control(unit) for index, unit in enumerate(params.controls)}
    return values | controls | hashes(params) | {"App": f"{OURS} {__version__}"}


def _mask_values(params: GenerationParams) -> dict[str, Any]:
    if not (params.init_image and params.mask_image):
        return {}
    alone = params.mask_padding is not None
    return {
        "Mask blur": params.mask_blur or None,
        "Inpaint area": "Only masked" if alone else None,
        "Masked area padding": params.mask_padding,
        "Masked content": CONTENTS[params.fill] if params.fill != "original" else None,
    }


def _control(unit: ControlUnit) -> str:
    model = f"{unit.model} [{unit.model_id[:8]}]" if unit.model_id else unit.model
    values = {
        "Module": unit.annotator or "none",
        "Model": re.sub("[,:]", "_", model),  # the ControlNet extension drops a unit with either in a value
        "Weight": unit.conditioning_scale,
        "Resize Mode": "Crop and Resize",
        "Processor Res": 512,
        "Threshold A": 0.5,
        "Threshold B": 0.5,
        "Guidance Start": unit.control_guidance_start,
        "Guidance End": unit.control_guidance_end,
        "Pixel Perfect": False,
        "Control Mode": "Balanced",
    }
    return ", ".join(f"{key}: {value}" for key, value in values.items())


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


@dataclass
class _Reader:
    """Takes values out of the pairs, one by one, and notes what does not fit."""

    values: dict[str, str]
    notes: list[str] = field(default_factory=list[str])

    def take(self, key: str, kind: Callable[[str], Any]) -> Any:
        text = self.values.pop(key, None)
        if text is None or text == "":
            return None
        try:
            return kind(text)
        except ValueError:
            self.notes.append(f"{key} is {text[:40]!r}, which could not be read.")
            return None

    def weighting(self) -> str | None:
        name = self.values.pop("Emphasis", "Original")
        found = next((ours for ours, theirs in EMPHASIS.items() if theirs == name), None)
        if found is None and name != "Original":
            self.notes.append(f"Emphasis is {name[:40]!r}, which could not be read.")
        return found

    def size(self) -> dict[str, int]:
        text = self.values.pop("Size", "")
        if match := re.fullmatch(r"(\d{1,6})x(\d{1,6})", text):
            return {"width": int(match[1]), "height": int(match[2])}
        if text:
            self.notes.append(f"Size is {text[:40]!r}, which could not be read.")
        return {}

    def vae(self) -> str | None:
        """The autoencoder's name without its file's ending; other programs write Automatic or None for the own one."""
        name = self.take("VAE", str)
        if name is None or name.lower() in ("automatic", "none", ""):
            return None
        return re.sub(r"\.(safetensors|ckpt|pt)$", "", name)

    def clip_skip(self) -> int | None:
        layers = self.take("Clip skip", int)
        return None if layers is None else max(layers - 1, 0)

    def strength(self) -> float | None:
        strength = self.take("Denoising strength", float)
        if strength is None:
            return None
        if any(key.startswith("Hires ") for key in self.values):
            self.notes.append("The picture was enlarged in a second pass, which is left out here.")
            return None
        self.notes.append("The picture that this one was made from is not in the file; choose it again.")
        return strength

    def mask(self) -> dict[str, Any]:
        """How a mask was used; what the painted part began from is said by other programs only if it is unusual."""
        blur, padding = self.take("Mask blur", int), self.take("Masked area padding", int)
        alone = (self.take("Inpaint area", str) or "").lower() == "only masked"
        content = self.take("Masked content", str)
        fill = next((name for name, known in CONTENTS.items() if content and known == content.lower()), None)
        if content and fill is None:
            self.notes.append(f"The masked content {content[:40]!r} is not here; what was there is used.")
        usual = USUAL_PADDING if padding is None else padding
        return {"mask_blur": blur, "mask_padding": usual if alone else None, "fill": fill}

    def scheduler(self) -> dict[str, str | None]:
        label, schedule = self.values.pop("Sampler", ""), self.values.get("Schedule type", "Automatic")
        spacing = self.values.pop("Timestep spacing", None)
        if not label:
            return {"timestep_spacing": spacing}
        label, schedule = _split_sampler(label, schedule)
        name = next((n for n, known in SAMPLERS.items() if known.lower() == label.lower()), None)
        if name is None:
            self.notes.append(f"The sampler {label[:40]!r} is not here; the checkpoint's own scheduler is used.")
            return {"timestep_spacing": spacing}
        if schedule.lower() == "sgm uniform":
            spacing = spacing or "trailing"
        return {"scheduler": name, "sigmas": self._sigmas(name, schedule), "timestep_spacing": spacing}

    def _sigmas(self, scheduler: str, schedule: str) -> str:
        if schedule.lower() == "automatic":
            return AUTOMATIC.get(scheduler, "default")
        found = next((n for n, label in SCHEDULES.items() if label.lower() == schedule.lower()), None)
        if found is None and schedule.lower() not in PLAIN_SCHEDULES:
            self.notes.append(f"The schedule {schedule[:40]!r} is not here; the plain one is used.")
        return found or "default"

    def words(self, prompt: str, negative: str) -> dict[str, Any]:
        """The prompts without tags, and the adapters that these name; in a negative prompt they switch nothing on."""
        ours = self.values.get("App", "").startswith(OURS)
        prompt, adapters, notes = without_tags(prompt, self.values.get(LORA_HASHES, "") if ours else "")
        self.notes += notes
        words = {"prompt": prompt, "negative_prompt": without_tags(negative, "")[0]}
        return words | ({"adapters": [vars(ref) for ref in adapters]} if adapters else {})

    def note_the_rest(self) -> None:
        rest = {key: value for key, value in self.values.items() if key not in SILENT_KEYS}
        for key in [key for key in rest if key.startswith("ControlNet ")]:
            unit = parse_pairs(rest.pop(key))
            self.notes.append(
                f"{key} used {unit.get('Model', 'a control model')[:60]} at weight {unit.get('Weight', '1')[:10]}; "
                "its picture is not in the file, so it is left out."
            )
        if rest:
            shown = ", ".join(f"{key}: {value}"[:60] for key, value in list(rest.items())[:20])
            self.notes.append(f"Not used here: {shown}.")

    def request(self, fields: Mapping[str, Any]) -> GenerationRequest:
        kept = {name: value for name, value in fields.items() if value is not None}
        while True:
            try:
                return GenerationRequest.from_dict(kept)
            except InvalidRequestError as error:
                self.notes.append(error.sentence())
                kept.pop(error.field)


def _split_sampler(label: str, schedule: str) -> tuple[str, str]:
    """Names before A1111 1.9 carried the schedule: "DPM++ 2M Karras"."""
    for known in SCHEDULES.values():
        if label.lower().endswith(f" {known.lower()}"):
            return label[: -len(known) - 1], known
    return label, schedule
