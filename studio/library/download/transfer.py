"""One file from another machine to this disk: resumed, counted, checked, and only then given its name."""

import errno
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TypeVar

import httpx

from studio.errors import DownloadError, StorageError
from studio.files import cannot_write
from studio.library.download.names import PAGE_HINT, SAFE, SNIFFED, looks_wrong, refuse_page
from studio.library.download.part import Facts, Part, file_sha256
from studio.library.download.web import Answer, Interrupted, Route, Web, number, refuse_status
from studio.library.header import HeaderError, read_header

T = TypeVar("T")
MARGIN = 512 * 2**20  # left free on the disk for everybody else
LOOKED_AFTER = 64 * 2**20  # bytes between two looks at the disk
TRIES, FIRST_WAIT, LONGEST_WAIT = 5, 1.0, 60.0
RESUME_HINT = "Free some space and start it again: it goes on where it stopped."
LIES_HINT = "Start it again later, or try another source."
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Cancelled(Exception):  # noqa: N818  no error: the person said so
    """The person stopped the download."""


class SpoiledError(DownloadError):
    """What was received is not what was promised, so nothing of it is kept."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one run of a download works with.

    Fields:
        free: Free bytes of the disk that a folder lies on.
        sleep: Waits that many seconds, or until the event is set.
        progress: Told the bytes that are here and the bytes in all, None if unknown, of the present file.
    """

    web: Web
    route: Route
    stop: Event
    free: Callable[[Path], int]
    sleep: Callable[[float, Event], object]
    progress: Callable[[int, int | None], None]

    def check(self) -> None:
        """Raises: Cancelled."""
        if self.stop.is_set():
            raise Cancelled


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file elsewhere.

    Fields:
        source: A digest of where it lies, by which its part is known again.
        size, sha256: What is known of it beforehand; None and "" if nothing is.
        model: Whether it holds weights; small settings are not looked at.
    """

    url: str
    source: str
    size: int | None = None
    sha256: str = ""
    model: bool = True


def patiently(run: Run, attempt: Callable[[], T], reached: Callable[[], int] = lambda: 0) -> T:
    """Call until it is not interrupted, waiting longer each time; anew after progress.

    reached: A number that grows with progress. Raises: DownloadError, after TRIES attempts without any; Cancelled.
    """
    failures = 0
    while True:
        run.check()
        before = reached()
        try:
            return attempt()
        except Interrupted as error:
            failures = 1 if reached() > before else failures + 1
            if failures >= TRIES:
                hint = "Start it again later: it goes on where it stopped."
                raise DownloadError(f"The download broke off: {str(error).rstrip('.')}.", hint=hint) from error
            run.sleep(min(max(error.wait, FIRST_WAIT * 2 ** (failures - 1)), LONGEST_WAIT), run.stop)


class Transfer:
    """One file on its way to `target`, where nothing is ever overwritten. part: what an earlier run left of it."""

    def __init__(self, file: RemoteFile, part: Part, run: Run) -> None:
        self.file, self.part, self.run = file, part, run
        self.target = part.target
        self._compared = self._whole = False
        self._found = ""  # the sha256 of the same file, which was here already

    def carry_out(self) -> str:
        """Bring the file here; at once, if the same one is here already. Returns: its sha256, as it was read here.

        Raises: DownloadError and StorageError, with the part kept for another time; SpoiledError, without; Cancelled.
        """
        try:
            if self.file.sha256 and self._is_here(self.file.size, self.file.sha256):
                return self.file.sha256
            with self.part:
                patiently(self.run, self._attempt, lambda: self.part.size)
            if not self._whole:
                return self._found
            digest = self._check_content()
        except SpoiledError:
            self.part.discard()
            raise
        if self.target.exists() and self._is_here(self.part.size, digest):
            self.part.discard()
        else:
            self.part.place(self.target)
        return digest

    def _attempt(self) -> None:
        """One request: all that is missing, or as much of it as comes."""
        start = self._resumable()
        if start and self.part.facts is not None and start == self.part.facts.total:
            self._whole = True
            return
        with self.run.web.get(self.file.url, self.run.route, self._range(start)) as answer:
            response = answer.response
            if response.status_code == 416 and start:
                self.part.begin(Facts(source=self.file.source))
                raise Interrupted("the file has changed on the server")
            refuse_status(response)
            facts = self._facts(answer)
            if not self._compared:
                self._compared = True
                if (facts.total is not None or facts.linked) and self._is_here(facts.total, facts.linked):
                    self._found = facts.linked
                    return
            self.part.begin(facts, self._offset(response, facts, start))
            self._receive(response, facts.total)
        self._whole = True

    def _resumable(self) -> int:
        """How many bytes of the part can be kept: all, or none if nothing would tell that the file has changed."""
        facts = self.part.facts
        if facts is None or facts.source != self.file.source:
            return 0
        return self.part.size if facts.can_be_told or self.file.sha256 else 0

    def _range(self, start: int) -> dict[str, str]:
        facts = self.part.facts
        if not start or facts is None:
            return {}
        validator = facts.etag if facts.etag.startswith('"') else facts.modified  # RFC 9110, 13.1.5: no weak ones
        return {"Range": f"bytes={start}-"} | ({"If-Range": validator} if validator else {})

    def _facts(self, answer: Answer) -> Facts:
        """What the answer says of the whole file. Raises: DownloadError, if that is not what was to come."""
        headers = answer.response.headers
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise DownloadError("The server packs the file, which was not asked for.", hint="Try another source.")
        if self.file.model:
            refuse_page(answer.response, self.target.name)
        partial = answer.response.status_code == 206
        said = headers.get("content-range", "").rpartition("/")[2] if partial else headers.get("content-length")
        total = number(said)
        for known in (self.file.size, answer.linked_size):
            if None not in (known, total) and known != total:
                raise DownloadError(f"The server has {total} bytes, but {known} were announced.", hint=LIES_HINT)
            total = known if total is None else total
        if self.file.sha256 and answer.linked and self.file.sha256 != answer.linked:
            raise DownloadError("The Hub's checksum of this file is another one than yours.", hint=LIES_HINT)
        return Facts(
            source=self.file.source,
            etag=headers.get("etag", ""),
            modified=headers.get("last-modified", ""),
            linked=answer.linked,
            total=total,
        )

    def _offset(self, response: httpx.Response, facts: Facts, start: int) -> int:
        """Where the body begins in the file. Raises: Interrupted, if the part is of another file."""
        if response.status_code != 206:
            return 0
        first = number(response.headers.get("content-range", "").removeprefix("bytes ").partition("-")[0])
        same = self.part.facts is not None and facts.continues(self.part.facts)
        checked = self.file.sha256 and self.part.facts is not None and facts.total == self.part.facts.total
        if first != start or not start or not (same or checked):
            self.part.begin(Facts(source=self.file.source))
            raise Interrupted("the file has changed on the server")
        return start

    def _receive(self, response: httpx.Response, total: int | None) -> None:
        """Write what comes. Raises: Interrupted, if it ends early; SpoiledError; StorageError; Cancelled."""
        looked = self._look_at_disk(total)
        self.run.progress(self.part.size, total)
        for chunk in response.iter_raw():
            self.run.check()
            if total is not None and self.part.size + len(chunk) > total:
                raise SpoiledError(f"The server sent more than the {total} bytes that it announced.", hint=LIES_HINT)
            before = self.part.size
            self._add(chunk)
            if before < SNIFFED <= self.part.size:
                self._sniff()
            if self.part.size - looked > LOOKED_AFTER:
                looked = self._look_at_disk(total)
            self.run.progress(self.part.size, total)
        if total is not None and self.part.size < total:
            raise Interrupted(f"the server ended after {self.part.size} of {total} bytes")

    def _look_at_disk(self, total: int | None) -> int:
        """The bytes that are here. Raises: StorageError, if the rest would not leave MARGIN free."""
        try:
            free = self.run.free(self.part.file.parent)
        except OSError as error:
            raise cannot_write(self.part.file, error) from error
        missing = 0 if total is None else total - self.part.size
        if free < missing + MARGIN:
            raise StorageError(
                f"The disk has {in_words(free)} free; {self.target.name} needs {in_words(missing)} more,"
                f" and {in_words(MARGIN)} to spare.",
                hint=RESUME_HINT,
            )
        return self.part.size

    def _add(self, chunk: bytes) -> None:
        try:
            self.part.add(chunk)
        except OSError as error:
            if error.errno not in FULL:
                raise cannot_write(self.part.file, error) from error
            here = in_words(self.part.size)
            raise StorageError(f"The disk is full: {here} of {self.target.name} are here.", hint=RESUME_HINT) from error

    def _sniff(self) -> None:
        """Raises: SpoiledError, if it does not begin as a model of its name."""
        if self.file.model and (wrong := looks_wrong(self.target.name, self.part.start(SNIFFED))):
            raise SpoiledError(wrong, hint=PAGE_HINT)

    def _check_content(self) -> str:
        """The checksum of the whole part. Raises: SpoiledError, if it is not what was promised, or is cut short."""
        self._sniff()
        digest = self.part.sha256()
        linked = self.part.facts.linked if self.part.facts else ""
        for promised in (self.file.sha256, linked):
            if promised and promised != digest:
                raise SpoiledError(
                    f"{self.target.name} has the checksum {digest[:12]}..., not {promised[:12]}... as promised.",
                    hint="Start it again; if that fails, too, do not trust the source.",
                )
        if self.file.model and self.target.name.lower().endswith(SAFE):
            try:
                read_header(self.part.file)
            except HeaderError as error:
                raise SpoiledError(f"{self.target.name} came damaged: {error}.", hint=LIES_HINT) from error
        return digest

    def _is_here(self, total: int | None, digest: str) -> bool:
        """Whether that content is at the target. Raises: DownloadError, if something else is; what cannot be told
        before all of it is here is passed.
        """
        if not self.target.exists():
            return False
        size = self.target.stat().st_size if self.target.is_file() else -1
        same = size == (size if total is None else total) and size >= 0
        if same and not digest:
            return False
        if same and file_sha256(self.target) == digest:
            return True
        raise taken(self.target)


def taken(target: Path) -> DownloadError:
    """The sentence for a place where something else is."""
    hint = "Rename or move that one first, then start the download again."
    return DownloadError(f"Another {target.name} is in {target.parent.name} already.", hint=hint)


def in_words(count: int) -> str:
    """Bytes, as people say them."""
    size, unit = next(((s, u) for s, u in ((1e9, "GB"), (1e6, "MB"), (1e3, "KB")) if count >= s), (1, "bytes"))
    return f"{count / size:.{0 if size == 1 else 1}f} {unit}"
