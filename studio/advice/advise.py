"""The one call: what a person asked for -> a whole training run, the reason for each setting, and what to watch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from studio.advice.cautions import cautions
from studio.advice.couplings import follow, rhythm
from studio.advice.defaults import FEW, HELD_OUT, HELD_OUT_FROM, WHY, row
from studio.advice.methods import choose_method, compared
from studio.advice.wish import Base, Pictures, Wish
from studio.advice.wording import written
from studio.advice.words import CLASSES, choose_trigger, sample_prompts, template
from studio.errors import InvalidRequestError
from studio.training_params import CONTROL_METHODS, TrainingParams

MORE_STEPS = 5.0  # at most so many times the steps of a few pictures
OURS = "The studio's own rule."


@dataclass(frozen=True)
class Reason:
    """Why a field has its value. source: where that comes from; "" where the person chose it."""

    field: str
    value: Any
    text: str
    source: str


@dataclass(frozen=True)
class Advice:
    """A run, why it is so, what to know before it starts, and the methods beside it in words."""

    params: TrainingParams
    reasons: tuple[Reason, ...]
    warnings: tuple[str, ...]
    methods: tuple[dict[str, str], ...]

    def view(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "params": self.params.to_dict(),
            "reasons": [vars(reason) for reason in self.reasons],
            "warnings": list(self.warnings),
            "methods": list(self.methods),
        }


def advise(wish: Wish, pictures: Pictures, base: Base) -> Advice:
    """Choose what the wish leaves open.

    Raises: InvalidRequestError, naming the field that cannot be used; there must be a picture.
    """
    if not pictures.count:
        raise InvalidRequestError(
            f"{pictures.name or 'The dataset'} has no pictures.", field="dataset", hint="Drop three to five into it."
        )
    method, why = (wish.method, "") if wish.method else choose_method(wish, pictures, base)
    reasons = [Reason("method", method, why or "You chose it.", "arXiv:2208.12242, table 1." if why else "")]
    values, source = defaults(wish, pictures, base, method, reasons)
    followed = follow(values, wish.settings, base)
    params = TrainingParams.from_dict(
        {**values, **{name: value for name, (value, _) in followed.items()}, **wish.settings}
    )
    reasons += [Reason(name, value, text, OURS) for name, (value, text) in followed.items()]
    reasons += _why(values, {*followed, *wish.settings, *(reason.field for reason in reasons)}, source)
    reasons += [Reason(name, value, _chosen(name, values), "") for name, value in wish.settings.items()]
    warnings = cautions(params, wish, pictures, base)
    return Advice(params, tuple(reasons), tuple(warnings), tuple(compared(wish, pictures, method)))


def defaults(
    wish: Wish, pictures: Pictures, base: Base, method: str, reasons: list[Reason]
) -> tuple[dict[str, Any], str]:
    """Every field that is not TrainingParams' own default, and the source of the method's; reasons are added."""
    found = row(method, base.family)
    class_word = wish.class_word or CLASSES.get(wish.subject, "")
    trigger, why = (wish.trigger, "You chose it.") if wish.trigger else choose_trigger(wish, base, method)
    if method in CONTROL_METHODS:
        trigger, why = wish.trigger, ""
    if why:
        reasons.append(Reason("trigger", trigger, why, "" if wish.trigger else OURS))
    steps = _steps(int(found.values["steps"]), pictures.count, method)
    reasons.append(Reason("steps", steps, _why_steps(pictures.count, method), found.source))
    values: dict[str, Any] = {
        **found.values,
        "name": wish.name,
        "method": method,
        "subject": wish.subject,
        "dataset": wish.dataset,
        "checkpoint": base.name,
        "base": base.base,
        "trigger": trigger,
        "class_word": class_word,
        "steps": steps,
        "prompt_template": template(wish, method, class_word),
        "sample_prompts": list(sample_prompts(wish, trigger, class_word, method)),
        "resolution": base.native_size,
        "held_out": HELD_OUT if pictures.count >= HELD_OUT_FROM else 0.0,
        **rhythm(steps),
    }
    return values | _class(values, wish.subject), found.source


def _steps(few: int, count: int, method: str) -> int:
    """More pictures take more steps, by the root of their number."""
    if method in CONTROL_METHODS:
        return few
    return int(round(few * min(MORE_STEPS, math.sqrt(max(count, FEW) / FEW)), -1))


def _why_steps(count: int, method: str) -> str:
    if method in CONTROL_METHODS:
        return "A control is followed all at once, after long in which nothing is to be seen."
    return f"A start for {count} picture{'' if count == 1 else 's'}: the scores of each save say which one was best."


def _class(values: Mapping[str, Any], subject: str) -> dict[str, Any]:
    """Prior preservation, which needs a class to preserve."""
    if not values.get("prior_preservation"):
        return {}
    if not values["class_word"] or subject == "style":
        return {"prior_preservation": False, "class_pictures": 0, "class_prompt": ""}
    asked = str(values.get("class_prompt") or "a {class}")
    return {"class_prompt": asked.replace("{class}", str(values["class_word"]))}


def _why(values: Mapping[str, Any], told: set[str], source: str) -> list[Reason]:
    """The reasons of the table, for fields that have one and are not told yet."""
    shown = {**values, **{name: False for name in ("train_text_encoder",) if name not in values}}
    fields = [name for name in WHY if name in shown and name not in told]
    ours = ("resolution", "held_out", "trigger", "prompt_template", "class_prompt")
    return [
        Reason(name, shown[name], WHY[name].format(value=written(shown[name])), OURS if name in ours else source)
        for name in fields
    ]


def _chosen(name: str, values: Mapping[str, Any]) -> str:
    return f"You chose it; {written(values[name])} was advised." if name in values else "You chose it."
