"""The gallery: every finished picture as a file with its settings, a thumbnail and a row.

Files come first, rows after them, so that a row never names what was not saved; a lost row comes back from its file.
"""

import json
import re
import sqlite3
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any

from PIL import Image

from studio.database import Database
from studio.errors import AssetError, StorageError, StudioError
from studio.files import move_whole, write_whole
from studio.gallery.png import Made, encode_png, picture_size, read_made, sound_text
from studio.gallery.thumbnails import make_thumbnail, write_thumbnail
from studio.messages import RawImage
from studio.params import GenerationParams
from studio.settings import Paths

LINKS = {"": "file", "thumbnail_": "thumbnail"}
TRASH_DAYS = 30
PAGE_MAX = 500
COLUMNS = "job_id, owner, path, thumbnail, width, height, seed, prompt, created, starred, deleted, params"
ID_MAX = SEED_MAX = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class GalleryItem:
    """One picture. path and thumbnail are files that may have been removed by hand; created in seconds since 1970."""

    id: int
    job_id: str
    owner: str
    path: Path
    thumbnail: Path
    width: int
    height: int
    seed: int
    prompt: str
    created: float
    starred: bool
    stored_params: str = field(repr=False)

    @property
    def params(self) -> GenerationParams:
        """The settings that made it. Raises: InvalidRequestError, if another version of the studio wrote them."""
        return GenerationParams.from_dict(json.loads(self.stored_params))

    def view(self) -> dict[str, Any]:
        """As front ends show it: plain values, links relative to the page."""
        names = ("id", "job_id", "width", "height", "seed", "prompt", "created", "starred")
        links = {f"{name}url": f"api/v1/gallery/{self.id}/{path}" for name, path in LINKS.items()}
        return {name: getattr(self, name) for name in names} | links


class Gallery:
    """The pictures of everybody; callers choose whose with `owner` (None: all)."""

    def __init__(self, paths: Paths, database: Database) -> None:
        self.outputs, self.thumbnails, self.trash = paths.outputs, paths.thumbnails, paths.trash
        self.database = database
        self._naming = Lock()
        self._last_numbers: dict[str, int] = {}

    # ---- adding

    def add(
        self,
        job_id: str,
        owner: str,
        params: GenerationParams,
        images: Iterable[RawImage],
        *,
        seconds: Mapping[str, float] | None = None,
        warnings: tuple[str, ...] = (),
    ) -> list[GalleryItem]:
        """Keep the pictures of a job: all of them, or none when one cannot be saved.

        Raises: StorageError, if the disk is full or the folder cannot be written.
        """
        made = Made(
            params=params,
            owner=owner,
            job_id=job_id,
            created=time.time(),
            seconds=dict(seconds or {}),
            warnings=tuple(warnings),
        )
        saved: list[str] = []
        try:
            rows = [
                self._save(image, replace(made, params=params.picture(image.seed - params.seed)), saved)
                for image in images
            ]
            return self._items(self._insert(rows))
        except StudioError:
            for name in saved:
                _removed(self._file(name), self._thumbnail(name))
            raise

    def _save(self, image: RawImage, made: Made, saved: list[str]) -> tuple[object, ...]:
        picture = Image.frombytes("RGB", (image.width, image.height), image.rgb)
        name = self._next_name(made)
        saved.append(name)
        write_whole(self._file(name), encode_png(picture, made))
        write_thumbnail(picture, self._thumbnail(name))
        return _row(made, name, picture.size)

    def _insert(self, rows: Iterable[tuple[object, ...]]) -> list[int]:
        sql = f"INSERT INTO gallery ({COLUMNS}) VALUES ({', '.join('?' * 12)}) RETURNING id"
        with self.database.write() as tx:
            return [int(tx.execute(sql, row).fetchone()[0]) for row in rows]

    def _next_name(self, made: Made) -> str:
        day = time.strftime("%Y-%m-%d", time.localtime(made.created))
        with self._naming:
            last = self._last_numbers.get(day)
            number = (self._highest_number(day) if last is None else last) + 1
            self._last_numbers[day] = number
        return f"{day}/{number:05d}-{made.params.seed}.png"

    def _highest_number(self, day: str) -> int:
        names = [path.name for root in (self.outputs, self.trash) for path in (root / day).glob("*.png")]
        return max((int(match[1]) for name in names if (match := re.match(r"(\d{5,9})-", name))), default=0)

    # ---- looking

    def page(
        self,
        owner: str | None = None,
        *,
        query: str = "",
        starred: bool = False,
        before: int | None = None,
        limit: int = 60,
    ) -> list[GalleryItem]:
        """Newest first, starting after the item `before`; query: words that the prompt must hold, or begin with."""
        sql, values = page_query(owner, query=query, starred=starred, before=before)
        return [self._item(row) for row in self._rows(f"{sql} LIMIT ?", (*values, min(max(limit, 1), PAGE_MAX)))]

    def get(self, item_id: int) -> GalleryItem | None:
        """One picture; None if there is none, or if it is in the trash."""
        return next(iter(self._items([item_id])), None) if 0 < item_id <= ID_MAX else None

    def count(self, owner: str | None = None) -> int:
        """How many pictures there are, without the trash."""
        where, values = ("", ()) if owner is None else (" AND owner = ?", (owner,))
        return int(self._rows(f"SELECT count(*) FROM gallery WHERE deleted IS NULL{where}", values)[0][0])

    def thumbnail(self, item: GalleryItem) -> Path:
        """The file of the thumbnail, made again if it was lost. Raises: AssetError, if the picture is gone too."""
        if not item.thumbnail.is_file():
            make_thumbnail(item.path, item.thumbnail)
        return item.thumbnail

    # ---- changing

    def star(self, item_id: int, starred: bool) -> GalleryItem:
        """Mark a picture, or take the mark off. Raises: AssetError, if there is none."""
        self._required(item_id)
        self._write("UPDATE gallery SET starred = ? WHERE id = ?", (int(starred), item_id))
        return self._required(item_id)

    def delete(self, item_id: int) -> None:
        """Move a picture to the trash. Raises: AssetError, if there is none; StorageError."""
        name = self._name(self._required(item_id))
        self._write("UPDATE gallery SET deleted = ? WHERE id = ?", (time.time(), item_id))
        try:
            if self._file(name).is_file():
                move_whole(self._file(name), self.trash / name)
        except StorageError:
            self._write("UPDATE gallery SET deleted = NULL WHERE id = ?", (item_id,))
            raise

    def restore(self, item_id: int) -> GalleryItem:
        """Bring a picture back from the trash. Raises: AssetError, if it is not there any more; StorageError."""
        for row in self._rows("SELECT path FROM gallery WHERE id = ? AND deleted > 0", (min(item_id, ID_MAX),)):
            if (self.trash / row["path"]).is_file():
                move_whole(self.trash / row["path"], self._file(row["path"]))
            self._write("UPDATE gallery SET deleted = NULL WHERE id = ?", (item_id,))
        return self._required(item_id)

    def purge(self, deleted_before: float | None = None) -> int:
        """Remove for good what was deleted before that time (by default TRASH_DAYS ago); how many."""
        limit = time.time() - TRASH_DAYS * 86_400 if deleted_before is None else deleted_before
        gone = [
            (row["id"],)
            for row in self._rows("SELECT id, path FROM gallery WHERE deleted < ?", (limit,))
            if _removed(self.trash / row["path"], self._file(row["path"]), self._thumbnail(row["path"]))
        ]
        with self.database.write() as tx:
            tx.executemany("DELETE FROM gallery WHERE id = ?", gone)
        return len(gone)

    def rebuild(self) -> int:
        """List pictures of ours that have a file but no row, those in the trash included; how many came back."""
        known = {row["path"] for row in self._rows("SELECT path FROM gallery", ())}
        found = [
            (made, path.relative_to(root).as_posix(), size, root == self.trash)
            for root in (self.outputs, self.trash)
            for path in sorted(root.rglob("*.png"))
            if path.relative_to(root).as_posix() not in known and (read := _read(path))
            for made, size in [read]
        ]
        found.sort(key=lambda entry: (entry[0].created, entry[1]))
        self._insert(_row(made, name, size, time.time() if trashed else None) for made, name, size, trashed in found)
        return len(found)

    # ---- rows and files

    def _items(self, ids: Iterable[int]) -> list[GalleryItem]:
        sql = f"SELECT id, {COLUMNS} FROM gallery WHERE id = ? AND deleted IS NULL"
        return [self._item(row) for item_id in ids for row in self._rows(sql, (item_id,))]

    def _required(self, item_id: int) -> GalleryItem:
        item = self.get(item_id)
        if item is None:
            raise AssetError(f"There is no picture {item_id}.", hint="Reload the gallery.")
        return item

    def _rows(self, sql: str, values: tuple[object, ...]) -> list[sqlite3.Row]:
        with self.database.read() as tx:
            return tx.execute(sql, values).fetchall()

    def _write(self, sql: str, values: tuple[object, ...]) -> None:
        with self.database.write() as tx:
            tx.execute(sql, values)

    def _item(self, row: sqlite3.Row) -> GalleryItem:
        plain = {key: row[key] for key in ("id", "job_id", "owner", "width", "height", "seed", "prompt", "created")}
        return GalleryItem(
            **plain,
            path=self._file(row["path"]),
            thumbnail=self._thumbnail(row["path"]),
            starred=bool(row["starred"]),
            stored_params=row["params"],
        )

    def _file(self, name: str) -> Path:
        return self.outputs / name

    def _thumbnail(self, name: str) -> Path:
        return (self.thumbnails / name).with_suffix(".webp")

    def _name(self, item: GalleryItem) -> str:
        return item.path.relative_to(self.outputs).as_posix()


def page_query(
    owner: str | None, *, query: str = "", starred: bool = False, before: int | None = None
) -> tuple[str, tuple[object, ...]]:
    """The statement that a page runs, without its limit: newest first, by index, whatever the number of rows."""
    where: list[str] = ["g.deleted IS NULL"]
    values: list[object] = []
    table, key = "gallery g", "g.id"
    if query.strip():
        table, key = "gallery_words w JOIN gallery g ON g.id = w.rowid", "w.rowid"
        where.append("gallery_words MATCH ?")
        values.append(" ".join(f'"{word}"*' for word in re.findall(r"\w+", query)[:20]) or '""')
    if owner is not None:
        where.append("+g.owner = ?" if starred else "g.owner = ?")  # +: stars are few, so their index goes first
        values.append(owner)
    if starred:
        where.append("g.starred = 1")
    if before is not None:
        where.append(f"{key} < ?")
        values.append(min(before, ID_MAX))
    columns = ", ".join(f"g.{name}" for name in ("id", *COLUMNS.split(", ")))
    return f"SELECT {columns} FROM {table} WHERE {' AND '.join(where)} ORDER BY {key} DESC", tuple(values)


def _row(made: Made, name: str, size: tuple[int, int], deleted: float | None = None) -> tuple[object, ...]:
    params, thumbnail = made.params, str(Path(name).with_suffix(".webp").as_posix())
    text = json.dumps(params.to_dict())
    place = (made.job_id, made.owner, name, thumbnail, *size)
    return (*place, params.seed, sound_text(params.prompt), made.created, 0, deleted, text)


def _removed(*paths: Path) -> bool:
    """Whether none of the files is there any more."""
    try:
        for path in paths:
            path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _read(path: Path) -> tuple[Made, tuple[int, int]] | None:
    try:
        str(path).encode()
        made = read_made(path)
        return (made, picture_size(path)) if made and 0 <= made.params.seed <= SEED_MAX else None
    except (AssetError, UnicodeEncodeError):
        return None
