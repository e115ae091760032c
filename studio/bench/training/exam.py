"""The exam of what was learned: pictures in new scenes, and what each shows of the subject, the prompt and its kind."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from studio.bench.training.desk import Desk, Trained
from studio.starter.judge import CELLS, Judge, load_judge, score, shrink
from studio.starter.obedience import Values
from studio.starter.render import Bytes
from studio.starter.subjects import Shown, Subject, exam, kinds, lessons
from studio.training.evaluation.sight import Sight, open_sight

SUBJECT_SEED, KIND_SEED = 5_000_000, 6_000_000


@dataclass(frozen=True)
class Answers:
    """Columns, a row a picture.

    Fields:
        like: Mean cosine with the five pictures, of pictures that were asked for the subject.
        obeys: Share of what the same prompts say besides that the judge finds.
        images: The same pictures.
    """

    like: Values
    obeys: Values
    images: Bytes


@dataclass
class Sitting:
    """The questions on one subject. count: how many; true: the answers of the true renders."""

    subject: Subject
    count: int
    examiner: "Examiner"
    asked: list[Shown] = field(init=False)
    kind_asked: list[Shown] = field(init=False)
    true: Answers = field(init=False)
    _taught: Values = field(init=False)

    def __post_init__(self) -> None:
        self.asked, self.kind_asked = exam(self.subject, self.count), kinds(self.subject, self.count)
        self._taught = self.examiner.sight.pictures([shown.image for shown in lessons(self.subject)])
        self.true = self.look(np.stack([shown.image for shown in self.asked]))

    def sit(self, trained: Trained | None) -> Answers:
        """Answer the questions for the subject; None is the base model."""
        prompts = [shown.prompt for shown in self.asked]
        return self.look(self.examiner.desk.paint(prompts, SUBJECT_SEED, trained))

    def kept(self, trained: Trained | None) -> Values:
        """Whether things of the subject's kind, asked without the trigger, are still found, (N,), 0 to 1."""
        images = self.examiner.desk.paint([shown.prompt for shown in self.kind_asked], KIND_SEED, trained)
        return self.examiner.found(images, self.kind_asked)

    def look(self, images: Bytes) -> Answers:
        """What pictures of the questions show."""
        like = (self.examiner.sight.pictures(list(images)) @ self._taught.T).mean(1)
        return Answers(like, self.examiner.obeys(images, self.asked), images)


@dataclass
class Examiner:
    """The pack's CLIP and judge, over a desk."""

    desk: Desk
    pack: Path
    sight: Sight = field(init=False)
    judge: Judge = field(init=False)

    def __post_init__(self) -> None:
        self.sight = open_sight(self.pack / "clip", self.pack / "desk" / "tokenizer")
        self.judge = load_judge(self.pack / "judge.safetensors")

    def obeys(self, images: Bytes, asked: Sequence[Shown]) -> Values:
        """The mean of: the background is right; the thing is on the side that was told; and of a style's scene, whose
        things the judge knows, they are found. (N,)"""
        return np.array([np.mean(self._marks(image, shown)) for image, shown in zip(images, asked, strict=True)])

    def found(self, images: Bytes, asked: Sequence[Shown]) -> Values:
        """The share of the things that the judge finds, (N,)."""
        pairs = zip(images, asked, strict=True)
        return np.array([score(self.judge, image[None], [shown.spec])["object"] for image, shown in pairs])

    def _marks(self, image: Bytes, shown: Shown) -> list[float]:
        marks = score(self.judge, image[None], [shown.spec])
        if shown.spec.things:
            return [marks["background"], marks["object"]]
        side = [] if shown.spec.side not in ("left", "right") else [float(self._side(image) == shown.spec.side)]
        return [marks["background"], *side]

    @torch.no_grad()
    def _side(self, image: Bytes) -> str:
        """Where the thing is that the judge sees, of whatever kind; "" for none."""
        there = self.judge(shrink(image[None]))["kind"][0].argmax(0) > 0
        if not there.any():
            return ""
        columns = torch.arange(CELLS).expand(CELLS, CELLS)[there].float()
        return "left" if columns.mean() < (CELLS - 1) / 2 else "right"
