"""What the studio's owner may do with datasets; every front end uses these calls."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from studio.access import LOCAL_USER, User, require
from studio.datasets.captions import read_caption
from studio.datasets.doctor import examine
from studio.datasets.folder import LIMITS
from studio.datasets.importing import Added, Item, files_of, unpacked
from studio.datasets.store import DatasetStore, case_of
from studio.datasets.views import looked_at, mask_png, summary, thumbnail, view
from studio.errors import AssetError, InvalidRequestError, JobError, MissingError

Plain = dict[str, Any]


@dataclass(frozen=True)
class Upload:
    """A file as it came in, on the disk: its name, with slashes, and its content."""

    name: str
    file: BinaryIO


@dataclass(kw_only=True)
class Desk:
    """The datasets, for whoever may train.

    Fields:
        thumbs: Where small pictures are kept; it may be deleted at any time.
        words: What an annotator says that a PNG shows; "" if it knows nothing. Raises: StudioError.
        side: The resolution, in pixels, that the doctor goes by where none is told.
        tell: Hears of captions as they are made: the event, and the name of whom it is for.
    """

    store: DatasetStore
    thumbs: Path
    words: Callable[[bytes], str]
    side: Callable[[], int]
    tell: Callable[[Plain, str], object]
    _captioning: dict[str, threading.Event] = field(default_factory=dict[str, threading.Event])

    def list(self, user: User) -> "list[Plain]":
        """Every dataset, in few words. Of pictures that nobody has looked at yet, nothing but their number is known."""
        require(user, "train")
        return [self._summary(name) for name in self.store.names()]

    def create(self, name: object, user: User) -> Plain:
        """Make an empty one. Raises: ForbiddenError; InvalidRequestError; StorageError."""
        require(user, "train")
        if not isinstance(name, str):
            raise InvalidRequestError("name must be text.", field="name")
        self.store.create(name)
        return self._summary(name)

    def view(self, name: str, user: User, resolution: int = 0, trigger: str = "") -> Plain:
        """All of it, with what the doctor says. Raises: ForbiddenError; MissingError."""
        require(user, "train")
        entries = self.store.entries(name)
        said = examine([case_of(entry) for entry in entries], resolution or self.side(), trigger)
        return view(name, entries, said)

    def delete(self, name: str, user: User) -> Plain:
        """To the trash. Raises: ForbiddenError; MissingError; StorageError."""
        require(user, "train")
        return {"deleted": name, "undo": self.store.delete(name)}

    def restore(self, token: object, user: User) -> Plain:
        """Bring back what was deleted. Raises: ForbiddenError; MissingError; InvalidRequestError; StorageError."""
        require(user, "train")
        return self._summary(self.store.restore(str(token)))

    # ---- files

    def add(self, name: str, uploads: Sequence[Upload], user: User) -> Plain:
        """Take files in; archives are unpacked. Raises: ForbiddenError; MissingError; StorageError."""
        require(user, "train")
        made = self.store.add(name, [_item(one) for one in uploads if not _is_zip(one)])
        for archive in filter(_is_zip, uploads):
            try:
                _merge(made, self.store.add(name, unpacked(archive.name, archive.file)))
            except AssetError as error:
                made.skipped.append((archive.name, error.sentence()))
        return _told(made)

    def add_folder(self, name: str, path: object, user: User) -> Plain:
        """Copy a folder of this machine in. Raises: ForbiddenError; MissingError; InvalidRequestError; StorageError."""
        require(user, "train")
        if not isinstance(path, str) or not path:
            raise InvalidRequestError("path must be the path of a folder.", field="path")
        return _told(self.store.add(name, files_of(Path(path).expanduser())))

    def file(self, name: str, file: str, user: User) -> Path:
        """A picture as it was given. Raises: ForbiddenError; MissingError."""
        require(user, "train")
        return self.store.picture(name, file).path

    def thumb(self, name: str, file: str, user: User) -> Path:
        """A small copy. Raises: ForbiddenError; MissingError; AssetError."""
        require(user, "train")
        return thumbnail(self.store.picture(name, file), self.thumbs)

    def delete_file(self, name: str, file: str, user: User) -> Plain:
        """A picture with all that belongs to it to the trash. Raises: ForbiddenError; MissingError; StorageError."""
        require(user, "train")
        return {"deleted": file, "undo": self.store.delete_picture(name, file)}

    # ---- masks

    def mask(self, name: str, file: str, user: User) -> Path:
        """Its mask, as large as the picture. Raises: ForbiddenError; MissingError; AssetError."""
        require(user, "train")
        found = mask_png(self.store.picture(name, file), self.thumbs)
        if found is None:
            raise MissingError(f"{file[:120]} has no mask.", hint="Paint one.")
        return found

    def put_mask(self, name: str, file: str, data: bytes, user: User) -> Plain:
        """Keep a mask. Raises: ForbiddenError; MissingError; AssetError; InvalidRequestError; StorageError."""
        require(user, "train")
        self.store.put_mask(name, file, data)
        return {"file": file, "mask": True}

    def delete_mask(self, name: str, file: str, user: User) -> Plain:
        """Take it away. Raises: ForbiddenError; MissingError; StorageError."""
        require(user, "train")
        self.store.delete_mask(name, file)
        return {"file": file, "mask": False}

    # ---- captions

    def write_captions(self, name: str, captions: Mapping[str, Any], user: User) -> Plain:
        """Write them; {previous}, which undoes it. Raises: ForbiddenError; MissingError; InvalidRequestError."""
        require(user, "train")
        return {"previous": self.store.write_captions(name, captions)}

    def edit_captions(self, name: str, order: Mapping[str, Any], user: User) -> Plain:
        """Change them in bulk; {changed, previous}. Raises: ForbiddenError; MissingError; InvalidRequestError."""
        require(user, "train")
        fields = {"do": "", "text": "", "with": ""} | dict(order)
        if wrong := [key for key in ("do", "text", "with") if not isinstance(fields[key], str)]:
            raise InvalidRequestError(f"{wrong[0]} must be text.", field=wrong[0])
        changed, previous = self.store.edit_captions(name, fields["do"], fields["text"], fields["with"])
        return {"changed": changed, "previous": previous}

    def caption(self, name: str, user: User) -> Plain:
        """Have a caption made for each picture without one, and wait; {captions, skipped}.

        Each is kept as soon as it is made; `stop_captions` ends it sooner.

        Raises: ForbiddenError; MissingError; JobError, if that is at work already; what `words` raises.
        """
        require(user, "train")
        self.store.folder(name)
        stop = self._captioning.setdefault(name, mine := threading.Event())
        if stop is not mine:
            raise JobError(f"Captions for {name[:80]} are being made already.", hint="Wait for them, or stop them.")
        made, skipped = dict[str, str](), list[Plain]()
        try:
            for file, words, reason in self._captions(name, mine):
                if words:
                    made[file] = words
                else:
                    skipped.append({"name": file, "reason": reason or "Nothing was recognised."})
        finally:
            del self._captioning[name]
            self._tell(name, state="done", captions=len(made))
        return {"captions": made, "skipped": skipped}

    def stop_captions(self, name: str, user: User) -> Plain:
        """Make no more of them. Raises: ForbiddenError."""
        require(user, "train")
        stop = self._captioning.get(name)
        if stop is not None:
            stop.set()
        return {"stopped": stop is not None}

    def _captions(self, name: str, stop: threading.Event) -> Iterator[tuple[str, str, str]]:
        """(file, words, why there are none) of each picture that had no caption, until told to stop."""
        bare = [one for one in self.store.pictures(name) if read_caption(one) is None]
        for done, one in enumerate(bare):
            if stop.is_set():
                return
            words, reason = "", ""
            try:
                words = self.words(looked_at(one))
            except AssetError as error:
                reason = error.sentence()
            if words and read_caption(one) is None:  # nobody wrote one meanwhile
                self.store.write_captions(name, {one.name: words})
            self._tell(name, state="captioning", file=one.name, caption=words, done=done + 1, total=len(bare))
            yield one.name, words, reason

    def _tell(self, name: str, **more: Any) -> None:
        self.tell({"type": "dataset", "name": name, **more}, LOCAL_USER.name)

    def _summary(self, name: str) -> Plain:
        known = self.store.entries_known(name)
        said = examine([case_of(entry) for entry in known], self.side()) if known else []
        return summary(name, known, self.store.pictures(name), said)


def _is_zip(upload: Upload) -> bool:
    return upload.name.lower().endswith(".zip")


def _item(upload: Upload) -> Item:
    def read(limit: int) -> bytes:
        upload.file.seek(0)
        return upload.file.read(min(limit, LIMITS.bytes + 1))

    return Item(upload.name, read)


def _merge(into: Added, more: Added) -> None:
    into.added += more.added
    into.skipped += more.skipped
    into.captions += more.captions
    into.masks += more.masks


def _told(made: Added) -> Plain:
    return asdict(made) | {"skipped": [{"name": name, "reason": reason} for name, reason in made.skipped]}
