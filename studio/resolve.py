"""A request with blanks becomes params with none: what is not said comes from the checkpoint's card, then from us."""

import secrets
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

from PIL import Image

from studio.control_maps import alike, remarks, source_of
from studio.errors import AssetError, InvalidRequestError
from studio.inpainting import Size, changeable
from studio.library.card import Card
from studio.library.control_kinds import REFERENCE, UNION_KINDS, WITHOUT_MODEL
from studio.library.fit import misfit
from studio.library.index import Library, ModelEntry
from studio.library.words import kind_word
from studio.params import MASK_BLUR, ControlUnit, GenerationParams, GenerationRequest, check_range
from studio.prompts.prepare import Prepared, Sources, prepare_each
from studio.regions import Speaking, check_regions, spoken
from studio.registry import Registry
from studio.stacking import Stacking

SIDE_MIN, SIDE_MAX, SIDE_STEP = 64, 2048, 8
DEFAULT_PROMPT = "a professional, detailed, high-quality image"  # Zhang et al., arXiv:2302.05543, "default prompt"
STEPS_MAX, COUNT_MAX, PROMPT_MAX = 150, 64, 20_000
SEED_MAX = 2**63 - COUNT_MAX
CONTROLS_MAX = 20
SPACINGS = ("leading", "trailing", "linspace")


class Eyes(Protocol):
    """What looks at the pictures that a request names (studio/sight.py). Raises: StudioError."""

    def caption(self, asset: str) -> str:
        """What the picture shows, in words; "" if nothing is known."""
        ...

    def mapped(self, unit: ControlUnit, size: Size) -> ControlUnit:
        """The unit with the map of that size that its annotator makes of its source."""
        ...


@dataclass(frozen=True)
class Resolver:
    """Chooses and checks. `has_asset` tells whether an asset id is known, `open_image` opens the picture of one,
    `sources` gives the wildcards and styles as they are now.
    """

    library: Library
    registry: Registry
    has_asset: Callable[[str], bool]
    open_image: Callable[[str], Image.Image]
    default_checkpoint: str = ""
    sources: Callable[[], Sources] = Sources

    def resolve(self, request: GenerationRequest, eyes: Eyes | None = None) -> tuple[GenerationParams, tuple[str, ...]]:
        """The params, and a sentence for each thing that was changed on the way.

        eyes: What looks at pictures, after all else was checked; without any, what needs it is refused.
        Raises: InvalidRequestError naming the field; ModelNotFoundError; BaseModelMismatchError; AssetError.
        """
        notes = _Notes()
        entry = self.checkpoint(request.checkpoint)
        card = self.card(entry)
        stacking = Stacking(self.library, entry, notes.lines)
        seed = _seed(request.seed)
        typed = words(request, notes)
        count = _whole("count", request.count, 1, 1, COUNT_MAX)
        each = prepare_each(typed["prompt"], typed["negative_prompt"], range(seed, seed + count), self.sources())
        notes.lines += each[0].warnings
        width, height = notes.size(request.width, request.height, card)
        vae = self.vae_entry(request.vae, entry)
        heard = [notes, *(_Notes() for _ in range(1, count))]  # what is odd is told once
        speaking = [
            Speaking(seed + i, self.sources().wildcards, partial(one.text, "regions"), one.lines)
            for i, one in enumerate(heard)
        ]
        controls, regional = spoken(self._controls(request.controls, entry), speaking)
        scheduler = request.scheduler or card.scheduler
        params = GenerationParams(
            **prompts(typed, each),
            checkpoint=entry.name,
            checkpoint_id=self.library.content_id(entry),
            width=width,
            height=height,
            num_inference_steps=_whole(
                "num_inference_steps", request.num_inference_steps, card.num_inference_steps, 1, STEPS_MAX
            ),
            guidance_scale=_guidance(request.guidance_scale, card),
            scheduler=scheduler,
            sigmas=self._sigmas(scheduler, request.sigmas or "default"),
            timestep_spacing=_one_of("timestep_spacing", request.timestep_spacing or card.timestep_spacing, SPACINGS),
            prediction_type=card.prediction_type,
            seed=seed,
            count=count,
            clip_skip=_whole("clip_skip", request.clip_skip, card.clip_skip, 0, 12),
            prompt_weighting=request.prompt_weighting,
            controls=controls,
            regional=regional,
            adapters=stacking.adapters((*request.adapters, *stacking.tagged(each[0].tags))),
            **self._first_picture(request, (width, height), notes),
            vae=vae.name if vae else None,
            vae_id=self.library.content_id(vae) if vae else "",
        )
        params = self._seen(request, params, eyes, notes)
        params = replace(params, embeddings=stacking.embeddings(*params.texts()))
        if not params.prompt and not params.controls:
            notes.lines.append("The prompt is empty, so the picture shows whatever the checkpoint likes.")
        return params, tuple(notes.lines)

    def _seen(
        self, request: GenerationRequest, params: GenerationParams, eyes: Eyes | None, notes: "_Notes"
    ) -> GenerationParams:
        """The params with what has to be looked at: maps that are still to be made, and a caption."""
        whole = self._whole(params)
        controls = tuple(unit if unit.map else _eyes(eyes).mapped(unit, whole) for unit in params.controls)
        for unit in controls:
            notes.lines += remarks(unit, self.open_image, whole)
        prompt = params.prompt
        if request.prompt_mode == "automatic":
            self._asset("prompt_mode", source := source_of(request))
            prompt = notes.caption(_eyes(eyes).caption(source))
        return replace(params, controls=controls, prompt=prompt)

    def _whole(self, params: GenerationParams) -> Size:
        """The size of the whole picture, of which only a part may be made anew."""
        if params.init_image is None or params.mask_padding is None:
            return params.width, params.height
        return self.open_image(params.init_image).size

    def checkpoint(self, name: str | None) -> ModelEntry:
        """The checkpoint of that name; without a name the person's default, else the first usable one."""
        if wanted := name or self.default_checkpoint:
            entry = self.library.find(wanted, "checkpoint")
            if not entry.usable:
                raise InvalidRequestError(f"{entry.name} cannot be used: {entry.reason}", field="checkpoint")
            return entry
        usable = [e for e in self.library.entries("checkpoint") if e.usable]
        if not usable:
            raise InvalidRequestError(
                "There is no checkpoint to make pictures with.",
                field="checkpoint",
                hint="Put one into data/models/checkpoints, or restore assets/starter.",
            )
        return self.library.find(usable[0].name, "checkpoint")

    def card(self, entry: ModelEntry) -> Card:
        """The checkpoint's card; plain defaults for one that carries none."""
        return entry.card or Card(name=entry.name, base=entry.base)

    def control_entry(self, kind: str, model: str, checkpoint: ModelEntry) -> ModelEntry:
        """The model of that name, or the one that fits kind and checkpoint; checked against its base model."""
        if kind not in self.registry.control_kinds:
            known = ", ".join(self.registry.control_kinds)
            raise InvalidRequestError(
                f"There is no control kind {kind!r}.", field="controls", hint=f"Choose one of: {known}."
            )
        entry = self.library.control_model(model) if model else self.library.control_model_for(kind, checkpoint.base)
        self._check(entry, checkpoint, "controls")
        unknown = entry.control_kind == "union" and kind not in UNION_KINDS
        if unknown or (entry.kind == "ip_adapter") != (kind == REFERENCE):
            what = kind_word(entry.kind)
            raise InvalidRequestError(
                f"{entry.name} is {'an' if what[0] in 'IA' else 'a'} {what}, which takes no {kind}.",
                field="controls",
                hint="Leave the model blank: one that fits is chosen.",
            )
        return entry

    def vae_entry(self, name: str | None, checkpoint: ModelEntry) -> ModelEntry | None:
        """The autoencoder of that name; None, without a name, is the checkpoint's own. Raises: as `resolve` does."""
        if not name:
            return None
        entry = self.library.find(name, "vae")
        self._check(entry, checkpoint, "vae")
        return entry

    def _check(self, entry: ModelEntry, checkpoint: ModelEntry, field_name: str) -> None:
        if not entry.usable:
            raise InvalidRequestError(f"{entry.name} cannot be used: {entry.reason}", field=field_name)
        if (error := misfit(entry, checkpoint, self.library.entries(entry.kind))) is not None:
            raise error

    def _controls(self, units: tuple[ControlUnit, ...], checkpoint: ModelEntry) -> tuple[ControlUnit, ...]:
        if len(units) > CONTROLS_MAX:
            raise InvalidRequestError(
                f"There are {len(units)} controls; at most {CONTROLS_MAX} are taken.",
                field="controls",
                hint="Leave out those that count least.",
            )
        check_regions(units)
        return tuple(self._control(unit, checkpoint) for unit in units)

    def _control(self, unit: ControlUnit, checkpoint: ModelEntry) -> ControlUnit:
        """The unit with its models named."""
        if unit.kind in WITHOUT_MODEL:
            if unit.model:
                raise InvalidRequestError(f"{unit.kind} takes no model.", field="controls", hint="Leave it blank.")
            return self._with_pictures(unit)
        entry = self.control_entry(unit.kind, unit.model, checkpoint)
        self._with_pictures(unit)
        named = replace(unit, model=entry.name, model_id=self.library.content_id(entry))
        if entry.kind != "ip_adapter":
            return named
        encoder = self.library.find(unit.encoder, "image_encoder") if unit.encoder else None
        encoder = encoder or self.library.image_encoder_for(entry)
        return replace(named, encoder=encoder.name, encoder_id=self.library.content_id(encoder))

    def _with_pictures(self, unit: ControlUnit) -> ControlUnit:
        """The unit, if it has a map or a source to make one of, and every picture that it names is here."""
        if not (unit.map or unit.source):
            raise InvalidRequestError(
                f"The {unit.kind} control has no map.",
                field="controls",
                hint="Give a map, or as source a picture that an annotator makes one of.",
            )
        for asset_id in (unit.map or unit.source, *unit.images, *filter(None, [unit.mask])):
            self._asset("controls", asset_id)
        return unit

    def _asset(self, field_name: str, asset_id: str | None) -> str | None:
        if asset_id is not None and not self.has_asset(asset_id):
            raise AssetError(
                f"{field_name} names a picture that is not here: {asset_id[:16]!r}.", hint="Upload it again."
            )
        return asset_id

    def _first_picture(self, request: GenerationRequest, size: Size, notes: "_Notes") -> dict[str, Any]:
        """The fields about the picture to begin with and its mask."""
        picture, mask = (self._asset(name, getattr(request, name)) for name in ("init_image", "mask_image"))
        chosen: dict[str, Any] = {"init_image": picture, "mask_image": mask, "strength": _strength(request)}
        if picture is None or mask is None:
            if request.mask_padding is not None:
                notes.lines.append("mask_padding was left out: it needs a mask.")
            if picture is not None:
                notes.stretched("picture", self.open_image(picture).size, size)
            return chosen
        first, padding = self.open_image(picture).size, request.mask_padding
        if padding is None:
            notes.stretched("picture", first, size)
        notes.mask(self.open_image(mask), first, size if padding is None else first)
        blur = MASK_BLUR if request.mask_blur is None else request.mask_blur
        return chosen | {"mask_padding": padding, "mask_blur": blur, "fill": request.fill or "original"}

    def _sigmas(self, scheduler: str, sigmas: str) -> str:
        spec = self.registry.schedulers.get(_one_of("scheduler", scheduler, tuple(self.registry.schedulers)))
        assert spec is not None
        if sigmas not in spec.sigmas:
            raise InvalidRequestError(
                f"{spec.label} cannot use {sigmas!r} sigmas.",
                field="sigmas",
                hint=f"Choose one of: {', '.join(spec.sigmas)}.",
            )
        return sigmas


@dataclass
class _Notes:
    """What was put right on the way, as sentences for the person."""

    lines: list[str] = field(default_factory=list[str])

    def text(self, name: str, text: str) -> str:
        """Text without control characters, at most PROMPT_MAX long."""
        if len(text) > PROMPT_MAX:
            raise InvalidRequestError(
                f"{name} has {len(text):,} characters; at most {PROMPT_MAX:,} are read.", field=name, hint="Shorten it."
            )
        clean = "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs"))
        if clean != text:
            self.lines.append(f"{len(text) - len(clean)} invisible control characters were taken out of {name}.")
        return clean.strip()

    def caption(self, text: str) -> str:
        """A caption as prompt; the person is told what it says."""
        if not (clean := self.text("prompt", text)):
            raise InvalidRequestError(
                "Nothing that is known was seen in the picture, so there are no words for a prompt.",
                field="prompt_mode",
                hint="Type a prompt, or ask for none.",
            )
        self.lines.append(f'The prompt was written from the picture: "{clean}".')
        return clean

    def size(self, width: int | None, height: int | None, card: Card) -> tuple[int, int]:
        """Sides in pixels, multiples of 8; the checkpoint's native size where none is said."""
        return self._side("width", _given(width, card)), self._side("height", _given(height, card))

    def stretched(self, what: str, given: Size, wanted: Size) -> None:
        """Say that a picture has another aspect than it is used in."""
        if not alike(given, wanted):
            sizes = f"{given[0]} x {given[1]} and was stretched to {wanted[0]} x {wanted[1]} pixels"
            self.lines.append(f"The {what} measures {sizes}.")

    def mask(self, mask: Image.Image, picture: Size, used: Size) -> None:
        """Refuse a mask in which nothing may change; say what is odd about another one.

        used: The size in which it is laid over the picture, which measures `picture`.
        """
        self.stretched("mask", mask.size, picture)
        darkest, lightest = changeable(mask, used).getextrema()
        if not lightest:
            raise InvalidRequestError(
                f"Nothing is white in the mask, as {used[0]} x {used[1]} pixels show it, so nothing would change.",
                field="mask_image",
                hint="Paint what may change, or leave the mask out to change the whole picture.",
            )
        if darkest:
            self.lines.append("The mask covers the whole picture, so nothing of it is kept as it is.")

    def _side(self, name: str, value: int) -> int:
        check_range(name, value, SIDE_MIN, SIDE_MAX)
        rounded = round(value / SIDE_STEP) * SIDE_STEP
        if rounded != value:
            self.lines.append(f"{name} was rounded from {value} to {rounded}: sides are multiples of {SIDE_STEP}.")
        return rounded


def words(request: GenerationRequest, notes: _Notes) -> dict[str, str]:
    """Prompt and negative prompt as the request's mode wants them; a caption comes later."""
    typed = {name: notes.text(name, getattr(request, name)) for name in ("prompt", "negative_prompt")}
    if request.prompt_mode != "typed" and typed["prompt"]:
        notes.lines.append("What was typed as prompt was left out: the words were to come from elsewhere.")
    match request.prompt_mode:
        case "none":
            return dict.fromkeys(typed, "")
        case "default":
            return typed | {"prompt": DEFAULT_PROMPT}
        case "automatic":
            source_of(request)
            return typed | {"prompt": ""}
        case _:
            return typed


def prompts(typed: Mapping[str, str], each: Sequence[Prepared]) -> dict[str, Any]:
    """The fields of params about words: what is said, what was typed where that is something else, and what is said
    of each picture where these differ."""
    found: dict[str, Any] = {}
    for name, template, several in (
        ("prompt", "template", "prompts"),
        ("negative_prompt", "negative_template", "negative_prompts"),
    ):
        said = tuple(getattr(one, name).strip() for one in each)
        found |= {name: said[0]} | ({template: typed[name]} if typed[name] != said[0] else {})
        found |= {several: said} if len(set(said)) > 1 else {}
    return found


def _eyes(eyes: Eyes | None) -> Eyes:
    if eyes is None:
        raise InvalidRequestError("No picture can be looked at here.", field="controls", hint="Give maps and words.")
    return eyes


def _given(value: int | None, card: Card) -> int:
    return card.native_size if value is None else value


def _whole(name: str, value: int | None, default: int, low: int, high: int) -> int:
    chosen = default if value is None else value
    check_range(name, chosen, low, high)
    return chosen


def _guidance(value: float | None, card: Card) -> float:
    chosen = card.guidance_scale if value is None else value
    check_range("guidance_scale", chosen, 0, 30)
    return chosen


def _seed(value: int | None) -> int:
    if value is None or value == -1:
        return secrets.randbelow(2**32)
    check_range("seed", value, 0, SEED_MAX)
    return value


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise InvalidRequestError(
            f"There is no {name} {value[:60]!r}.", field=name, hint=f"Choose one of: {', '.join(allowed)}."
        )
    return value


def _strength(request: GenerationRequest) -> float:
    if request.init_image is None:
        if request.mask_image is not None:
            raise InvalidRequestError(
                "A mask needs a picture to change.", field="mask_image", hint="Give init_image too."
            )
        return 1.0
    strength = 0.75 if request.strength is None else request.strength
    check_range("strength", strength, 0.01, 1)
    return strength
