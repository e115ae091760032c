"""The weights of annotators: where they lie, which are missing, and how a person gets them."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.errors import InvalidRequestError
from studio.hookspecs import AnnotatorSpec, WeightsSpec
from studio.library.roots import builtin_place
from studio.settings import Settings

FOLDER = "annotators"
DESCRIPTION = "config.json"  # what makes a folder of weights whole: downloads rename it when all of it is there


@dataclass(frozen=True)
class AnnotatorFiles:
    """Folders to look into; the first that has a name counts."""

    folders: tuple[Path, ...]

    @staticmethod
    def of(settings: Settings) -> "AnnotatorFiles":
        """The person's own, then the starter pack."""
        return AnnotatorFiles((settings.paths.models / FOLDER, builtin_place().folder))

    def find(self, name: str) -> Path | None:
        """The file or folder of that name; None if it is not there."""
        places = (folder / name for folder in self.folders)
        return next((place for place in places if place.is_file() or (place / DESCRIPTION).is_file()), None)

    def missing(self, row: AnnotatorSpec) -> list[WeightsSpec]:
        """What the annotator opens and is not there."""
        return [weights for weights in row.weights if self.find(weights.name) is None]

    def ready(self, row: AnnotatorSpec) -> bool:
        """Whether it can make maps now."""
        return not self.missing(row)

    def needs(self, row: AnnotatorSpec) -> str:
        """What has to be there first, in words that go on after "needs"; "" if it works at once."""
        missing = self.missing(row)
        wanted = [weights for weights in missing if weights.repo]
        size = sum(weights.megabytes for weights in wanted)
        if packed := [weights.name for weights in missing if not weights.repo]:
            return f"{', '.join(packed)} of the starter pack, which is not here"
        if wanted:
            return "a download" + (f" of about {size:.0f} MB" if size else "")
        return row.needs

    def check(self, row: AnnotatorSpec, rows: Iterable[AnnotatorSpec]) -> None:
        """Raises: InvalidRequestError, saying what is missing, how to get it, and what works in its place."""
        missing = self.missing(row)
        if not missing:
            return
        if all(weights.repo for weights in missing):
            way = f"Download it with: python launch.py annotate {row.name} FILE --out OUT --download."
        else:
            way = "Bring the folder assets/starter up to date, or put the file into data/models/annotators."
        others = [other.name for other in rows if other.kind == row.kind and self.ready(other)]
        instead = f" What works at once: {', '.join(others)}." if others else ""
        raise InvalidRequestError(f"{row.label} needs {self.needs(row)}.", field="annotator", hint=way + instead)

    def downloads(self, row: AnnotatorSpec) -> list[dict[str, str]]:
        """What to ask of the downloads for what is missing; empty if nothing is, or no server has it."""
        found = [weights for weights in self.missing(row) if weights.repo]
        return [{"repo": weights.repo, "file": weights.file, "kind": "annotator"} for weights in found]


@dataclass(frozen=True)
class Annotation:
    """A control map that was made of a picture: its asset id, what made it, and with which options.

    pose: The people that were found, in the form of studio.skeleton, if the annotator looks for people.
    words: What the picture shows, if the annotator writes captions; then there is no map.
    """

    map: str
    annotator: str
    options: dict[str, float]
    pose: dict[str, Any] | None = None
    words: str = ""

    def view(self) -> dict[str, Any]:
        """As front ends get it: {"map" or "words", "annotator", "options"}, and what the pose holds."""
        made = {"map": self.map} if self.map else {"words": self.words}
        return made | {"annotator": self.annotator, "options": self.options} | (self.pose or {})
