"""What trainings know of datasets."""

from pathlib import Path

from studio.advice.wish import Pictures
from studio.datasets.store import DatasetStore

GRAVE = (
    "corrupt",
    "identical",
    "duplicates",
    "blurred",
    "tiny",
)  # what else the doctor says stands beside the pictures


def known_of(store: DatasetStore, name: str, resolution: int, trigger: str) -> Pictures:
    """A dataset as the advice needs it; pictures that are new are looked at. Raises: MissingError."""
    entries = store.entries(name)
    whole = [entry for entry in entries if not entry.look.trouble]
    findings = store.examine(name, resolution, trigger)
    return Pictures(
        name=name,
        count=len(whole),
        captioned=sum(1 for entry in whole if entry.caption),
        masked=sum(1 for entry in whole if entry.picture.mask is not None),
        trouble=tuple(found.text for found in findings if found.kind in GRAVE),
    )


def place_of(store: DatasetStore, name: str) -> tuple[Path, str]:
    """Where it lies, and the id of what is in it. Raises: MissingError."""
    return store.folder(name), store.content_id(name)
