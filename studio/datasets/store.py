"""Every dataset of the studio: folders of data/datasets, as they are on the disk at this moment."""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from studio.datasets.captions import checked, edited, read_caption, write_caption
from studio.datasets.doctor import Case, Finding, examine
from studio.datasets.folder import LIMITS, MASK, Picture, content_id, list_pictures, mask_of, stem_of
from studio.datasets.importing import Added, Item, take_in
from studio.datasets.looks import Look, Looks
from studio.datasets.trash import Trash
from studio.errors import InvalidRequestError, MissingError
from studio.files import cannot_write, write_whole
from studio.gallery.decode import decode_image
from studio.training_params import NAME


@dataclass(frozen=True)
class Entry:
    """One picture with what is known of it."""

    picture: Picture
    look: Look
    caption: str | None


class DatasetStore:
    """The folders under `root`. Names that come from outside are looked up among those that are there, so none leads
    elsewhere.

    Args:
        root: data/datasets. trash: where deleted things go. cache: where what was seen of pictures is remembered.
    """

    def __init__(self, root: Path, trash: Path, cache: Path) -> None:
        self.root, self.cache = root, cache
        self.trash = Trash(trash, root)
        self._writing = threading.RLock()

    def names(self) -> list[str]:
        """Of every dataset, in order."""
        try:
            return sorted(one.name for one in self.root.iterdir() if one.is_dir() and not one.name.startswith("."))
        except FileNotFoundError:
            return []

    def folder(self, name: str) -> Path:
        """Where it lies. Raises: MissingError."""
        if name not in self.names():
            raise MissingError(f"There is no dataset {name[:80]!r}.", hint="Reload the page to see what there is.")
        return self.root / name

    def create(self, name: str) -> Path:
        """Make an empty one. Raises: InvalidRequestError, if the name cannot be used or is taken; StorageError."""
        if not NAME.fullmatch(name) or name != name.rstrip(" ."):
            raise InvalidRequestError(
                f"The name is {name[:80]!r}.", field="name", hint="Use 1 to 80 letters, digits, spaces and .()+-."
            )
        with self._writing:
            if name.casefold() in (one.casefold() for one in self.names()):
                raise InvalidRequestError(
                    f"There is a dataset {name!r} already.", field="name", hint="Choose another name, or add to it."
                )
            try:
                (self.root / name).mkdir(parents=True)
            except OSError as error:
                raise cannot_write(self.root / name, error) from error
        return self.root / name

    def delete(self, name: str) -> str:
        """Move all of it to the trash; the token that brings it back. Raises: MissingError; StorageError."""
        with self._writing:
            self.folder(name)
            self._looks_file(name).unlink(missing_ok=True)
            return self.trash.put(name)

    # ---- pictures

    def pictures(self, name: str) -> list[Picture]:
        """Every picture, by name; nothing is opened. Raises: MissingError."""
        return list_pictures(self.folder(name))

    def picture(self, name: str, file: str) -> Picture:
        """One of them. Raises: MissingError."""
        found = next((one for one in self.pictures(name) if one.name == file), None)
        if found is None:
            raise MissingError(f"There is no picture {file[:120]!r} in {name[:80]}.", hint="Reload the page.")
        return found

    def entries(self, name: str) -> list[Entry]:
        """Every picture with what is known of it; new ones are looked at first. Raises: MissingError."""
        pictures = self.pictures(name)
        with self._writing:
            looks = Looks(self._looks_file(name)).all(pictures)
        return [Entry(one, looks[one.name], read_caption(one)) for one in pictures]

    def entries_known(self, name: str) -> list[Entry]:
        """Those that were looked at before; no picture is opened. Raises: MissingError."""
        pictures = self.pictures(name)
        looks = Looks(self._looks_file(name)).known(pictures)
        return [Entry(one, looks[one.name], read_caption(one)) for one in pictures if one.name in looks]

    def add(self, name: str, items: Iterable[Item]) -> Added:
        """Take files in. Raises: MissingError; StorageError, if the disk is full: what was added before stays."""
        with self._writing:
            folder = self.folder(name)
            return take_in(folder, [one.name for one in list_pictures(folder)], items)

    def delete_picture(self, name: str, file: str) -> str:
        """Move it with its caption, mask and map to the trash; the token that brings them back.

        Raises: MissingError; StorageError.
        """
        with self._writing:
            one, folder = self.picture(name, file), self.folder(name)
            shared = any(stem_of(other.name) == stem_of(file) for other in self.pictures(name) if other.name != file)
            beside = () if shared else (*one.captions, *filter(None, (one.mask, one.map)))
            files = [one.path, *(path for path in beside if path.exists())]
            return self.trash.put(name, [path.relative_to(folder).as_posix() for path in files])

    def restore(self, token: str) -> str:
        """Bring back what a token stands for; the name of its dataset. Raises: as Trash.restore."""
        with self._writing:
            return self.trash.restore(token)[0]

    # ---- captions and masks

    def write_captions(self, name: str, captions: Mapping[str, object]) -> dict[str, str]:
        """Write them by picture; what they were before, "" for none, so that writing that back undoes it.

        Raises: MissingError; InvalidRequestError, naming the first that cannot be kept: then none is written.
        """
        with self._writing:
            known = {one.name: one for one in self.pictures(name)}
            if unknown := sorted(set(captions) - set(known)):
                raise MissingError(f"There is no picture {unknown[0][:120]!r} in {name[:80]}.", hint="Reload the page.")
            clean = {file: checked(file, text) for file, text in captions.items()}
            before = {file: read_caption(known[file]) or "" for file in clean}
            for file, text in clean.items():
                write_caption(known[file], text)
            return before

    def edit_captions(self, name: str, do: str, text: str, replacement: str = "") -> tuple[dict[str, str], ...]:
        """Change captions in bulk, as `edited` says; those that changed, and what they were before."""
        with self._writing:
            captions = {one.name: read_caption(one) for one in self.pictures(name)}
            changed = edited(captions, do, text, replacement)
            return changed, self.write_captions(name, changed)

    def put_mask(self, name: str, file: str, data: bytes) -> None:
        """Keep a mask beside a picture: white is what counts; one of another size is fitted to the picture.

        Raises: MissingError; AssetError, if it is no picture; InvalidRequestError, if nothing would count.
        """
        grey = mask_of(decode_image(data, LIMITS))
        if not grey.getextrema()[1]:
            raise InvalidRequestError(
                "The mask is black everywhere, so nothing of the picture would be learned.",
                field="mask",
                hint="Paint white what counts, or delete the mask: then all of it counts.",
            )
        with self._writing:
            one = self.picture(name, file)
            buffer = BytesIO()
            grey.save(buffer, "PNG")
            beside = one.path.with_name(f"{one.path.stem}{MASK[0]}.png")
            write_whole(one.mask if one.mask and one.mask.suffix == ".png" else beside, buffer.getvalue())

    def delete_mask(self, name: str, file: str) -> None:
        """Take a picture's mask away, if it has one. Raises: MissingError; StorageError."""
        with self._writing:
            one = self.picture(name, file)
            if one.mask is not None:
                self.trash.put(name, [one.mask.relative_to(self.folder(name)).as_posix()])

    # ---- all of it

    def examine(self, name: str, resolution: int = 0, trigger: str = "") -> list[Finding]:
        """What the doctor says. Raises: MissingError."""
        return examine([case_of(one) for one in self.entries(name)], resolution, trigger)

    def content_id(self, name: str) -> str:
        """What names its pictures, captions, masks and maps. Raises: MissingError."""
        return content_id(self.pictures(name), read_caption)

    def _looks_file(self, name: str) -> Path:
        return self.cache / f"{name}.json"


def case_of(entry: Entry) -> Case:
    """A picture as the doctor sees it."""
    return Case(entry.picture.name, entry.look, entry.caption, entry.picture.mask is not None)
