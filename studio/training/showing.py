"""Pictures of a run: samples at fixed seeds beside the base model's, and those that its scores are made of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from studio.engine.generate import Watch
from studio.files import write_whole
from studio.training.evaluation.evaluator import STEPS as SCORED_STEPS
from studio.training.evaluation.sight import Picture
from studio.training.guiding import Guide
from studio.training.workplace import CLIP_ID, Workplace

FOLDER, BASE, GIVEN = "samples", "base-", "given-"


@dataclass
class Showing:
    """Makes sample pictures of a run.

    Fields:
        folder: Of the run; pictures go into its samples/, named STEP-i.png, base-i.png of the untrained model, and
            given-i.png for what they were to follow.
        say: Tells an event.
        guide: What samples of a control model follow.
        heed: Called after each step of a picture; what it raises ends it, and the models are as before.
    """

    work: Workplace
    folder: Path
    say: Callable[[Mapping[str, Any]], None]
    guide: Guide | None = None
    heed: Callable[[], None] = field(default=lambda: None)

    @property
    def prompts(self) -> tuple[str, ...]:
        """What the samples are asked: what was typed, or the words of what they follow."""
        return self.work.params.sample_prompts or (self.guide.shown if self.guide is not None else ())

    def base(self) -> None:
        """Show what samples are to follow, and what the model makes before it has learned, once.

        Raises: StorageError; StudioError.
        """
        if not self.prompts or all((self.folder / name).exists() for name in self._names(BASE)):
            return
        if (guide := self.guide) is not None:
            images = [guide.image(number) for number in range(len(self.prompts))]
            for name, image in zip(self._names(GIVEN), images, strict=True):
                write_whole(self.folder / name, _png(image))
            self._tell(GIVEN, 0)
        self._show(BASE, 0, {})

    def at(self, step: int, more: Mapping[str, Any]) -> None:
        """Show what it makes now. more: what a request needs for that, as Method.shown yields it."""
        if self.prompts:
            self._show(f"{step}-", step, more)

    def paint(self, prompts: Sequence[str], seed: int, more: Mapping[str, Any]) -> list[Picture]:
        """A picture for each prompt, the first of that seed, as the evaluation asks for them: in few steps."""
        return self._made(tuple(prompts), seed, {"num_inference_steps": SCORED_STEPS, **more})

    def _show(self, start: str, step: int, more: Mapping[str, Any]) -> None:
        names = self._names(start)
        for number, (name, prompt) in enumerate(zip(names, self.prompts, strict=True)):
            self.say({"event": "phase", "name": "sampling", "done": number, "total": len(names)})
            write_whole(self.folder / name, _png(Image.fromarray(self._sample(number, prompt, more))))
        self._tell(start, step)

    def _tell(self, start: str, step: int) -> None:
        self.say({"event": "samples", "step": step, "files": self._names(start), "prompts": list(self.prompts)})

    def _names(self, start: str) -> list[str]:
        return [f"{FOLDER}/{start}{number}.png" for number in range(len(self.prompts))]

    def guided(self, more: Mapping[str, Any]) -> list[Picture]:
        """A picture for each of the guide's images, with its words, in few steps: what obedience is seen in."""
        few = {"num_inference_steps": SCORED_STEPS, **more}
        words = self.guide.words if self.guide is not None else ()
        return [self._sample(number, prompt, few) for number, prompt in enumerate(words)]

    def _sample(self, number: int, prompt: str, more: Mapping[str, Any]) -> Picture:
        given = self.guide.given(number) if self.guide is not None and more else {}
        return self._made((prompt,), self.work.params.seed + number, {**more, **given})[0]

    def _made(self, prompts: tuple[str, ...], seed: int, more: Mapping[str, Any]) -> list[Picture]:
        fields = {name: value for name, value in more.items() if name != "models"}
        wanted = replace(self.work.template(seed), prompt=prompts[0], prompts=prompts, count=len(prompts), **fields)
        models = {**self.work.order.models, CLIP_ID: self.work.clip, **more.get("models", {})}
        watch = Watch(step=lambda *_: self.heed())
        return self.work.engine.generate(wanted, models, watch).pictures


def _png(picture: Image.Image) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
