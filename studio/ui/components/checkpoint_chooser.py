"""The checkpoint chooser of the top bar: handlers deal in names, the browser gets what is known of each."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from studio.ui.components.own import OwnComponent
from studio.ui.errors import Notice


@dataclass(frozen=True)
class Choice:
    """A checkpoint's name with a sentence that stands beside the chooser: why another one was not taken."""

    name: str
    refusal: Notice | None = None


class CheckpointChooser(OwnComponent):
    """value: a name, or a Choice. Events: `choose` with {"name"} when a person picks one, and `look` after a scan.

    The name that the page holds changes only when Python answers, so that no choice is taken that cannot be used.

    Args:
        describe: What the browser shows of the checkpoint of that name: {"base", "precision", ...}.
    """

    def __init__(
        self,
        describe: Callable[[str], dict[str, Any]],
        *,
        value: str | Choice | None = None,
        elem_id: str,
        render: bool = True,
    ) -> None:
        self.describe = describe
        super().__init__("checkpoint_chooser", value=value, elem_id=elem_id, render=render)

    def preprocess(self, payload: object) -> str:
        """The name that the page holds; "" for anything that is none."""
        name = payload.get("name") if isinstance(payload, dict) else None
        return name if isinstance(name, str) else ""

    def postprocess(self, value: str | Choice | None) -> dict[str, Any]:
        """What the script reads. The time makes a sentence that is said twice be shown twice."""
        choice = value if isinstance(value, Choice) else Choice(value or "")
        refusal = choice.refusal and {**choice.refusal, "at": time.time()}
        return {"name": choice.name, **self.describe(choice.name), "refusal": refusal}
