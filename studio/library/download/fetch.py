"""A request carried out: what is wanted is found out, brought here and put where its kind lives."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from studio.errors import DownloadError
from studio.files import cannot_write, write_whole
from studio.library.download.hub import Hub, HubFile, Listing, choose
from studio.library.download.names import (
    FOLDERS,
    SUFFIXES,
    announced_name,
    check_suffix,
    own_name,
    refuse_page,
    safe_name,
)
from studio.library.download.part import Part, file_sha256
from studio.library.download.transfer import RemoteFile, Run, Transfer, patiently, taken
from studio.library.download.wanted import Wanted
from studio.library.download.web import checked_url, number, refuse_status
from studio.library.identify import identify

INCOMING = ".incoming"
NOTE = ".source.json"


def kind_of(path: Path) -> str:
    """The kind that a file or folder is of, "unknown" if it cannot be told."""
    return identify(path).kind


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where models go: the folder of all of them, and how the kind of one is found out."""

    models: Path
    kind_of: Callable[[Path], str] = kind_of

    def folder(self, kind: str) -> Path:
        """The folder of a kind; a waiting room while the kind is not known."""
        return self.models / (FOLDERS[kind] if kind else INCOMING)


@dataclass(frozen=True, kw_only=True)
class Arrived:
    """A model that is here.

    Fields:
        kind: As asked for, or as found out.
        hashes: The sha256 of those of its files that were read on their way.
    """

    path: Path
    kind: str
    hashes: Mapping[Path, str]


class Staging:
    """`.NAME.part/` beside a folder's place: its finished files, and a note of the commit that they are of."""

    def __init__(self, wanted: Wanted, places: Places) -> None:
        parent = places.folder(wanted.kind)
        self.name = safe_name(wanted.repo, parent)
        self.folder = parent / f".{self.name}.part"
        self._of = {"repo": wanted.repo, "revision": wanted.revision}
        self._earlier = places.folder("") / self.folder.name  # it may have come without a kind before

    def commit(self) -> str:
        """The commit that an earlier run began with; "" if there was none."""
        return self._commit_of(self.folder) or self._commit_of(self._earlier)

    def begin(self, commit: str) -> None:
        """Make the folder, or take up the one of an earlier run. Raises: StorageError."""
        if self._commit_of(self.folder) != commit:
            self.discard()
        if not self.folder.exists() and self._commit_of(self._earlier) == commit:
            with suppress(OSError):  # on another disk: it is fetched anew
                self.folder.parent.mkdir(parents=True, exist_ok=True)
                os.rename(self._earlier, self.folder)
        write_whole(self.folder / NOTE, json.dumps({**self._of, "commit": commit}).encode())

    def finish(self, target: Path) -> None:
        """Move it to its place. Raises: DownloadError, StorageError."""
        settle(self.folder, target)
        (target / NOTE).unlink(missing_ok=True)  # not before: what could not be moved is taken up again

    def discard(self) -> None:
        """Remove it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _commit_of(self, folder: Path) -> str:
        try:
            data: Any = json.loads((folder / NOTE).read_text("utf-8"))
        except (OSError, ValueError):
            return ""
        said = cast(dict[str, Any], data) if isinstance(data, dict) else {}
        return str(said.get("commit", "")) if {name: said.get(name) for name in self._of} == self._of else ""


@dataclass(frozen=True, kw_only=True)
class Errand:
    """One request on its way. named: told the model's name as soon as it is known."""

    wanted: Wanted
    hub: Hub
    places: Places
    run: Run
    named: Callable[[str], object]

    def carry_out(self) -> Arrived:
        """Bring the model here.

        Raises: DownloadError and StorageError, saying what went wrong; Cancelled. Parts stay for another time.
        """
        if self.wanted.url:
            return self._address()
        if self.wanted.file:
            return self._hub_file(HubFile(path=self.wanted.file, name=self.wanted.file), self.wanted.revision)
        staging = Staging(self.wanted, self.places)
        revision = staging.commit() or self.wanted.revision
        listing = patiently(self.run, lambda: self.hub.list(self.wanted.repo, revision, self.run.web))
        is_folder, files = choose(listing, self.wanted.repo)
        if not is_folder:
            return self._hub_file(files[0], listing.commit)
        self.named(staging.name)
        return self._folder(staging, Listing(commit=listing.commit, files={file.path: file for file in files}))

    def _address(self) -> Arrived:
        """A file at an address: the server is asked for its name first."""
        name, size = patiently(self.run, self._ask)
        source = _source("url", self.wanted.url)
        return self._file(RemoteFile(url=self.wanted.url, source=source, size=size, sha256=self.wanted.sha256), name)

    def _ask(self) -> tuple[str, int | None]:
        with self.run.web.get(self.wanted.url, self.run.route) as answer:
            refuse_status(answer.response)
            name = announced_name(answer.response, checked_url(self.wanted.url))
            refuse_page(answer.response, name or "a file")
            return name, number(answer.response.headers.get("content-length"))

    def _hub_file(self, file: HubFile, commit: str) -> Arrived:
        wanted = self.wanted
        if wanted.sha256 and file.sha256 and wanted.sha256 != file.sha256:
            raise DownloadError("The Hub's checksum of this file is another one than yours.", hint="Check both.")
        remote = RemoteFile(
            url=self.hub.file_url(wanted.repo, commit, file.path),
            source=_source("hub", wanted.repo, wanted.revision, file.path),
            size=file.size,
            sha256=wanted.sha256 or file.sha256,
        )
        return self._file(remote, own_name(file.path, wanted.repo))

    def _file(self, remote: RemoteFile, announced: str) -> Arrived:
        """One file into the folder of its kind; where that is not said, into the waiting room first."""
        kind, waiting = self.wanted.kind, self.places.folder("")
        name = safe_name(announced, self.places.folder(kind))
        check_suffix(name, kind)
        self.named(name)
        part, earlier = Part(self.places.folder(kind) / name), Part(waiting / name)
        if kind and earlier.is_of(remote.source):
            part = earlier.move_to(part.target)
        digest = Transfer(remote, part, self.run).carry_out()
        if kind:
            return Arrived(path=part.target, kind=kind, hashes={part.target: digest})
        found = self.places.kind_of(part.target)
        if found not in FOLDERS:
            part.take_back()
            raise _unknown(name)
        place = settle(part.target, self.places.folder(found) / name)
        return Arrived(path=place, kind=found, hashes={place: digest})

    def _folder(self, staging: Staging, listing: Listing) -> Arrived:
        """A diffusers folder: built beside its place, all files of one commit, then renamed as a whole."""
        kind, digests = self.wanted.kind, dict[str, str]()
        if not kind or not is_there(self.places.folder(kind) / staging.name, listing):
            staging.begin(listing.commit)
            digests = self._fetch_all(staging.folder, listing)
            if (kind := kind or self.places.kind_of(staging.folder)) not in FOLDERS:
                raise _unknown(staging.name)
        target = self.places.folder(kind) / staging.name
        if is_there(target, listing):
            staging.discard()
            digests = {file.name: file.sha256 for file in listing.files.values() if file.sha256}
        else:
            staging.finish(target)
        return Arrived(path=target, kind=kind, hashes={target / name: digest for name, digest in digests.items()})

    def _fetch_all(self, folder: Path, listing: Listing) -> dict[str, str]:
        """Every file of the listing into the folder, with the progress of them together.

        Returns: the sha256 of those that an earlier run had not brought already, by name.
        """
        files = list(listing.files.values())
        sizes = [file.size for file in files if file.size is not None]
        total = sum(sizes) if len(sizes) == len(files) else None
        done, digests = 0, dict[str, str]()
        for file in files:
            target, before = folder / file.name, done
            if not target.exists():
                remote = RemoteFile(
                    url=self.hub.file_url(self.wanted.repo, listing.commit, file.path),
                    source=_source("hub", self.wanted.repo, listing.commit, file.path),
                    size=file.size,
                    sha256=file.sha256,
                    model=target.suffix in SUFFIXES,
                )

                def progress(here: int, _total: int | None, before: int = before) -> None:
                    self.run.progress(before + here, total)

                transfer = Transfer(remote, Part(target), replace(self.run, progress=progress))
                digests[file.name] = transfer.carry_out()
            done += target.stat().st_size
        self.run.progress(done, total)
        return digests


def is_there(target: Path, listing: Listing) -> bool:
    """Whether those very files are there; sizes tell where the Hub gives no checksum.

    Raises: DownloadError, if something else is.
    """
    if not target.exists():
        return False
    for file in listing.files.values():
        here = target / file.name
        if not here.is_file() or file.size not in (None, here.stat().st_size):
            raise taken(target)
        if file.sha256 and file_sha256(here) != file.sha256:
            raise taken(target)
    return True


def settle(source: Path, target: Path) -> Path:
    """Move a finished file or folder to its place, which may be on another disk; the place.

    Raises: DownloadError, if something else is there; StorageError.
    """
    if target.exists():
        if not (source.is_file() and target.is_file() and file_sha256(source) == file_sha256(target)):
            raise taken(target)
        source.unlink()
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _move(source, target)
    except OSError as error:
        raise cannot_write(target, error) from error
    return target


def _move(source: Path, target: Path) -> None:
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        beside = target.with_name(f".{target.name}.part")
        shutil.move(source, beside)
        os.rename(beside, target)


def _source(*parts: str) -> str:
    """A digest by which a part is known again; addresses themselves may hold passwords."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _unknown(name: str) -> DownloadError:
    return DownloadError(f"It cannot be told what {name} is.", hint="Start it again and say its kind; nothing is lost.")
