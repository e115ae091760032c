"""What a person asks of the trainer, and what is known of their pictures and of the model that shall learn."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self, cast

from studio.errors import InvalidRequestError
from studio.training_params import METHODS, SUBJECTS, TrainingParams

OWN = ("name", "dataset", "subject", "method", "checkpoint", "trigger", "class_word")
WORDS = ("trigger", "class_word")  # these may be said among the settings, too
FAMILIES = ("starter", "sd1", "sd2", "sdxl")


@dataclass(frozen=True, kw_only=True)
class Wish:
    """A training as it is asked for; what is empty is chosen.

    Fields:
        name: Of the result. dataset: the folder of pictures, by name. subject: of SUBJECTS. method: of METHODS, or "".
        checkpoint: The model that shall learn, or "". trigger, class_word: as in TrainingParams, or "".
        settings: Fields of TrainingParams that the person changed, as plain values.
        yield_to_pictures: Whether the run pauses at a step for pictures that are asked for meanwhile.
    """

    name: str
    dataset: str
    subject: str = "object"
    method: str = ""
    checkpoint: str = ""
    trigger: str = ""
    class_word: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    yield_to_pictures: bool = True

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Self:
        """The wish of a JSON or TOML object. Raises: InvalidRequestError, naming the field."""
        known = [one.name for one in fields(cls)]
        if odd := sorted(body.keys() - set(known)):
            hint = f"Known: {', '.join(known)}; fields of a training belong into settings."
            raise InvalidRequestError(f"A training has no field {odd[0][:40]!r}.", field=odd[0][:40], hint=hint)
        for name in ("name", "dataset"):
            if not str(body.get(name) or "").strip():
                hint = "Such as: mug" if name == "name" else "Choose a folder of pictures."
                raise InvalidRequestError(f"{name} is missing.", field=name, hint=hint)
        settings = _settings(body.get("settings"))
        said = {**body, **{name: settings.pop(name) for name in WORDS if name in settings}}
        for name in OWN:
            if not isinstance(said.get(name) or "", str):
                raise InvalidRequestError(f"{name} must be text.", field=name)
        texts = {name: str(said.get(name) or "").strip() for name in OWN}
        _choice("subject", texts["subject"] or "object", SUBJECTS)
        if texts["method"]:
            _choice("method", texts["method"], METHODS)
        lent = body.get("yield_to_pictures", True)
        if not isinstance(lent, bool):
            raise InvalidRequestError("yield_to_pictures must be true or false.", field="yield_to_pictures")
        texts["subject"] = texts["subject"] or "object"
        return cls(**texts, settings=settings, yield_to_pictures=lent)


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """A dataset. captioned, masked: how many pictures have one; trouble: what its doctor says, as sentences."""

    name: str
    count: int
    captioned: int = 0
    masked: int = 0
    trouble: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Base:
    """A checkpoint, as its card tells. known_words: all that a small one was shown, else empty."""

    name: str
    base: str
    native_size: int = 512
    prediction_type: str = "epsilon"
    known_words: tuple[str, ...] = ()

    @property
    def family(self) -> str:
        """Of FAMILIES. Raises: InvalidRequestError, for a model that cannot be trained."""
        found = "starter" if self.base.startswith("starter") else self.base
        if found not in FAMILIES:
            raise InvalidRequestError(
                f"{self.name} is a model of the kind {self.base}, which cannot be trained here.",
                field="checkpoint",
                hint="Choose a checkpoint of Stable Diffusion 1.x, 2.x or XL, or the starter.",
            )
        return found


def _choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InvalidRequestError(
            f"{name} cannot be {value[:40]!r}.", field=name, hint=f"Choose one of: {', '.join(choices)}."
        )


def _settings(said: Any) -> dict[str, Any]:
    """The settings, without those that are asked for beside them. Raises: InvalidRequestError, naming the field."""
    if said is None:
        return {}
    if not isinstance(said, dict):
        raise InvalidRequestError("settings must be an object of fields.", field="settings")
    settings = dict(cast(dict[str, Any], said))
    chosen = {*OWN, "dataset_id", "checkpoint_id", "base", "version"} - {*WORDS}
    known = {one.name for one in fields(TrainingParams)} - chosen
    if odd := sorted(settings.keys() - known):
        beside = odd[0] in {one.name for one in fields(TrainingParams)}
        told = f"{odd[0]} does not belong into settings." if beside else f"A training has no field {odd[0][:40]!r}."
        hint = "Say it beside them." if beside else f"It has: {', '.join(sorted(known))}."
        raise InvalidRequestError(told, field=odd[0][:40], hint=hint)
    return settings
