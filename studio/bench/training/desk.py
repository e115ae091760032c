"""A studio of the bench's own: the Train button is pressed here, and what comes of it is used from its shelf."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from studio.access import LOCAL_USER
from studio.app import open_studio
from studio.bench.engine import make_engine
from studio.datasets.importing import files_of
from studio.engine.generate import Engine
from studio.errors import JobError
from studio.params import GenerationRequest
from studio.services import Studio
from studio.settings import Settings, load_settings
from studio.starter.render import Bytes
from studio.starter.subjects import TRIGGER, Subject, write_subjects

PATIENCE = 3600.0  # seconds that a run may take at most
WORDS = ("inversion", "pivotal")  # whose trigger is the name of a file
Plain = dict[str, Any]


@dataclass(frozen=True)
class Trained:
    """What a press of the button made.

    Fields:
        word: The trigger. seconds: from the press to the card on the shelf.
        run: As the API shows it. folder: of the run.
        request: What a picture asks to wear it; the prompt begins with `tags`.
    """

    word: str
    seconds: float
    run: Mapping[str, Any]
    folder: Path
    request: GenerationRequest
    tags: str = ""

    def asked(self, prompt: str) -> str:
        """A prompt of the exam in the words of this run."""
        return self.tags + prompt.replace(TRIGGER, self.word)


UNTRAINED = GenerationRequest()


@dataclass
class Desk:
    """A studio, and an engine to look with."""

    studio: Studio
    engine: Engine

    def press(self, subject: Subject, method: str, settings: Mapping[str, Any] | None = None) -> Trained:
        """Drop the subject's five pictures, press Train, wait for the card. Raises: JobError, if it fails."""
        name = f"{subject.name}-{method}-{len(self.studio.trainings.list(LOCAL_USER))}"
        word = name if method in WORDS else TRIGGER
        self._drop(name, subject, word)
        began = time.perf_counter()
        body: Plain = {
            "name": name,
            "dataset": name,
            "subject": subject.sort,
            "method": method,
            "checkpoint": "starter-desk",
            "trigger": word,
            "class_word": subject.class_word,
            "settings": {"prompt_template": subject.template, **(settings or {})},
        }
        run = self.studio.trainings.start(body, LOCAL_USER)
        run = self.studio.trainings.wait(run["id"], LOCAL_USER, PATIENCE)
        seconds = time.perf_counter() - began
        if run["state"] != "done" or not run["results"]:
            raise JobError(f"The run {name} {run['state']}: {run['error']}", hint=run["hint"])
        folder = self.studio.trainings.places.runs / str(run["id"])
        return Trained(word, seconds, run, folder, *_worn(method, name))

    def paint(self, prompts: Sequence[str], seed: int, trained: Trained | None) -> Bytes:
        """A picture for each prompt, (N, side, side, 3), each with a seed of its own; None is the base model."""
        request = trained.request if trained else UNTRAINED
        asked = [trained.asked(prompt) if trained else prompt for prompt in prompts]
        return np.stack([self._picture(request, prompt, seed + i) for i, prompt in enumerate(asked)])

    def at_save(self, trained: Trained, step: int) -> Trained:
        """The same with what was saved at that step on the shelf. Raises: MissingError; StorageError."""
        return replace(trained, run=self.studio.trainings.keep(str(trained.run["id"]), step, LOCAL_USER))

    def _picture(self, request: GenerationRequest, prompt: str, seed: int) -> Bytes:
        params, _ = self.studio.resolve(replace(request, prompt=prompt, seed=seed))
        return self.engine.generate(params, self.studio.library.locate(params)).pictures[0]

    def _drop(self, name: str, subject: Subject, word: str) -> None:
        """Make the dataset, with captions that say the trigger."""
        drawn = self.studio.settings.paths.root / "drawn" / name
        (folder,) = write_subjects(drawn, subjects=[subject])
        for file in folder.glob("*.txt"):
            file.write_text(file.read_text(encoding="utf-8").replace(TRIGGER, word), encoding="utf-8")
        self.studio.datasets.create(name)
        self.studio.datasets.add(name, files_of(folder))


@contextmanager
def open_desk(settings: Settings, folder: Path) -> Iterator[Desk]:
    """A studio in an empty folder, on the device of the settings."""
    fresh = load_settings(folder, device=settings.device)
    with open_studio(fresh, worker=False) as studio:
        yield Desk(studio, make_engine(settings.device, "auto"))


def _worn(method: str, name: str) -> tuple[GenerationRequest, str]:
    """How a picture wears the result, and what its prompt begins with."""
    tags: dict[str, Callable[[], str]] = {
        "lora": lambda: f"<lora:{name}:1> ",
        "pivotal": lambda: f"<lora:{name}:1> ",
        "hypernetwork": lambda: f"<hypernet:{name}:1> ",
    }
    checkpoint = name if method == "dreambooth" else "starter-desk"
    return GenerationRequest(checkpoint=checkpoint), tags.get(method, str)()
