"""Who put which asset in: an asset is kept once, but each person sees their own alone."""

import time
from collections.abc import Iterable

from studio.database import Database


class Uploads:
    """The owners of assets. Two who upload the same picture both own it."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def note(self, owner: str, asset_ids: Iterable[str]) -> None:
        """Remember that the assets are the owner's."""
        rows = [(owner, asset_id, time.time()) for asset_id in asset_ids]
        with self.database.write() as tx:
            tx.executemany("INSERT OR IGNORE INTO uploads (owner, asset, created) VALUES (?, ?, ?)", rows)

    def has(self, owner: str, asset_id: str) -> bool:
        """Whether that asset is the owner's."""
        with self.database.read() as tx:
            row = tx.execute("SELECT 1 FROM uploads WHERE owner = ? AND asset = ?", (owner, asset_id)).fetchone()
        return row is not None
