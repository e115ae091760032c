"""Settings that belong to others: when a person changes one, those that they did not touch follow."""

from collections.abc import Mapping
from typing import Any

from studio.advice.defaults import CLASS_PICTURES
from studio.advice.wish import Base
from studio.advice.wording import written
from studio.errors import InvalidRequestError
from studio.training_couplings import COUPLINGS

Changes = dict[str, tuple[Any, str]]
RATE_GROWTH = 10.0  # kohya's guide: 1e-4 with alpha equal to the rank, up to 1e-3 with alpha 1
ADAMW_RATE = 1e-4  # where a row names another optimizer's rate of its own
UNLOCKED_RATE = 2e-6  # lllyasviel/ControlNet, docs/train.md: sd_locked False


def follow(values: Mapping[str, Any], settings: Mapping[str, Any], base: Base) -> Changes:
    """What changes with the settings: {field: (value, reason)}; nothing that the person chose is touched.

    Args:
        values: The defaults. settings: what the person changed.
    Raises: InvalidRequestError, where a setting needs what nobody said.
    """
    changes: Changes = {}
    values = {**values, "usual_optimizer": values.get("optimizer", "adamw")}
    for rule in (_steps, _alpha, _scale, _text_encoder, _unlocked, _prior, _optimizer):
        changes |= rule({**values, **{name: value for name, (value, _) in changes.items()}, **settings}, settings, base)
    return {name: change for name, change in changes.items() if name not in settings}


def rhythm(steps: int) -> dict[str, int]:
    """Four saves with samples, eight measurements."""
    return {"save_every": max(1, steps // 4), "sample_every": max(1, steps // 4), "measure_every": max(1, steps // 8)}


def _steps(_values: Mapping[str, Any], settings: Mapping[str, Any], _base: Base) -> Changes:
    steps = settings.get("steps")
    if not isinstance(steps, int) or isinstance(steps, bool):
        return {}
    return {name: (value, "It follows the steps.") for name, value in rhythm(steps).items()}


def _alpha(_values: Mapping[str, Any], settings: Mapping[str, Any], _base: Base) -> Changes:
    rank = settings.get("rank")
    return {"alpha": (float(rank), "It follows the rank.")} if isinstance(rank, int) and rank > 0 else {}


def _scale(values: Mapping[str, Any], settings: Mapping[str, Any], _base: Base) -> Changes:
    """A LoRA's effect is multiplied by alpha / rank (rsLoRA: by the root); the rate makes up for it."""
    rank, alpha, rate = values.get("rank"), values.get("alpha"), values.get("learning_rate")
    known = all(isinstance(value, int | float) and value > 0 for value in (rank, alpha, rate))
    if not known or not ({"alpha", "rslora"} & settings.keys()):
        return {}
    scale = float(alpha or 1) / float(rank or 1) ** (0.5 if values.get("rslora") is True else 1.0)
    factor = min(max(1 / scale, 1 / RATE_GROWTH), RATE_GROWTH)
    if abs(factor - 1) < 1e-9:
        return {}
    by = written(factor)
    text = f"Alpha and rank multiply what is learned by {written(scale)}, so the rate is multiplied by {by}."
    return {"learning_rate": (float(rate or 0) * factor, text)}


def _text_encoder(values: Mapping[str, Any], settings: Mapping[str, Any], base: Base) -> Changes:
    if settings.get("train_text_encoder") is not True or settings.get("text_learning_rate"):
        return {}
    rate = values.get("learning_rate")
    if not isinstance(rate, int | float):
        return {}
    share = 0.05 if base.family == "sdxl" else 0.1
    return {"text_learning_rate": (rate * share, "Text encoders forget sooner: a part of the model's rate.")}


def _unlocked(_values: Mapping[str, Any], settings: Mapping[str, Any], _base: Base) -> Changes:
    if settings.get("unlocked_decoder") is not True:
        return {}
    return {"learning_rate": (UNLOCKED_RATE, "With the decoder unlocked, a higher rate damages the model.")}


def _prior(values: Mapping[str, Any], settings: Mapping[str, Any], base: Base) -> Changes:
    if values.get("prior_preservation") is not True:
        return {}
    if settings.get("prior_preservation") is True and not values.get("class_word") and not values.get("class_prompt"):
        raise InvalidRequestError(
            "Prior preservation needs to know the class.",
            field="class_word",
            hint="Say what it is, such as cup or dog.",
        )
    if values.get("class_pictures"):
        return {}
    return {"class_pictures": (CLASS_PICTURES.get(base.family, 200), "Enough to stand for the class.")}


def _optimizer(values: Mapping[str, Any], settings: Mapping[str, Any], _base: Base) -> Changes:
    """Another optimizer than the row's takes other rates; the row names them for its own."""
    wanted, usual = COUPLINGS.get(settings.get("optimizer", "")), COUPLINGS[values["usual_optimizer"]]
    rate, decay = values.get("learning_rate"), values.get("weight_decay", 0.01)
    if wanted is None or wanted is usual or not isinstance(rate, int | float) or not isinstance(decay, int | float):
        return {}
    adamw = ADAMW_RATE if usual.rate is not None else rate / usual.factor
    changes: Changes = {"learning_rate": (wanted.rate_for(adamw), f"{wanted.reason} ({wanted.source})")}
    if wanted.decay != usual.decay and decay:
        changes["weight_decay"] = (min(1.0, decay * wanted.decay / usual.decay), wanted.reason)
    if wanted.one_rate:
        told = settings.get("learning_rate", changes["learning_rate"][0])
        changes |= {"text_learning_rate": (told, wanted.reason)} if values.get("text_learning_rate") else {}
        changes |= {"lora_plus": (1.0, wanted.reason)} if values.get("lora_plus", 1.0) != 1.0 else {}
    return changes
