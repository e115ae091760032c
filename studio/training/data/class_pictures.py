"""Pictures of the class, which the base model makes itself, once, for every run that needs the same ones."""

import hashlib
import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from PIL import Image

from studio.datasets.folder import Picture, open_picture
from studio.errors import AssetError, InvalidRequestError
from studio.files import write_whole
from studio.prompts.expand import expand
from studio.training_params import TrainingParams

Make = Callable[[str, int], Image.Image]  # (prompt, seed) -> RGB


def class_prompt(params: TrainingParams) -> str:
    """What pictures of the class are asked, in which {these|those} are drawn anew for each.

    Raises: InvalidRequestError, if nothing says what the class is.
    """
    prompt = params.class_prompt or (f"a {params.class_word}" if params.class_word else "")
    if not prompt:
        raise InvalidRequestError(
            "Prior preservation needs pictures of the class, and nothing says what that is.",
            field="class_word",
            hint="Say what kind of thing it is, such as cup, or turn prior preservation off.",
        )
    return prompt


class ClassPictures:
    """A folder of them, KEY/00000.png and so on; the number is the seed.

    Args:
        root: data/training/class-pictures. KEY names the checkpoint, the prompt and the size.
    """

    def __init__(self, params: TrainingParams, root: Path) -> None:
        self.prompt, self.count = class_prompt(params), params.class_pictures
        if not self.count:
            raise InvalidRequestError(
                "Prior preservation is on, with 0 pictures of the class.",
                field="class_pictures",
                hint="Ask for 24 or more, or turn prior preservation off.",
            )
        self.about = {"checkpoint": params.checkpoint_id, "prompt": self.prompt, "size": params.resolution}
        name = hashlib.sha256(json.dumps(self.about, sort_keys=True).encode()).hexdigest()[:24]
        self.folder = root / name

    def missing(self) -> list[int]:
        """Seeds of those that are not there, or cannot be read."""
        return [seed for seed in range(self.count) if not _is_whole(self.path(seed))]

    def make(self, make: Make, tell: Callable[[int, int], None]) -> int:
        """Make those that are missing; how many. tell(done, total) hears of each. Raises: StorageError."""
        missing = self.missing()
        if missing:
            write_whole(self.folder / "about.json", json.dumps(self.about).encode())
        for done, seed in enumerate(missing):
            tell(done, len(missing))
            buffer = BytesIO()
            make(self.asked(seed), seed).convert("RGB").save(buffer, "PNG")
            write_whole(self.path(seed), buffer.getvalue())
        tell(len(missing), len(missing))
        return len(missing)

    def pictures(self) -> list[Picture]:
        """All of them."""
        return [Picture(self.path(seed).name, self.path(seed)) for seed in range(self.count)]

    def asked(self, seed: int) -> str:
        """What the picture of that seed was asked, which is also its caption."""
        return " ".join(expand(self.prompt, seed)[0].split())

    def path(self, seed: int) -> Path:
        """Where the picture of that seed lies."""
        return self.folder / f"{seed:05d}.png"


def _is_whole(path: Path) -> bool:
    try:
        open_picture(path)
    except AssetError:
        return False
    return True
