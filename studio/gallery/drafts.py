"""What was typed and drawn in each browser, so that a reload or a restart loses nothing."""

import json
import re
import time
from typing import Any

from studio.database import Database
from studio.errors import InvalidRequestError

MAX_BYTES = 2_000_000
BROWSER_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")
MAX_PER_OWNER = 50


class Drafts:
    """One draft per owner and browser; the oldest of an owner's go when there are more than MAX_PER_OWNER."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def get(self, owner: str, browser: str) -> dict[str, Any]:
        """The draft as it was saved; empty when there is none. Raises: InvalidRequestError, if the name is none."""
        _check_name(browser)
        with self.database.read() as tx:
            row = tx.execute("SELECT body FROM drafts WHERE owner = ? AND browser = ?", (owner, browser)).fetchone()
        return json.loads(row["body"]) if row else {}

    def save(self, owner: str, browser: str, body: dict[str, Any]) -> None:
        """Replace the draft in one step. Raises: InvalidRequestError, if it is no plain object or too large."""
        _check_name(browser)
        text = _as_json(body)
        with self.database.write() as tx:
            tx.execute(
                "INSERT INTO drafts (owner, browser, body, saved) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (owner, browser) DO UPDATE SET body = excluded.body, saved = excluded.saved",
                (owner, browser, text, time.time()),
            )
            tx.execute(
                "DELETE FROM drafts WHERE owner = ? AND browser != ? AND browser NOT IN "
                "(SELECT browser FROM drafts WHERE owner = ? ORDER BY saved DESC LIMIT ?)",
                (owner, browser, owner, MAX_PER_OWNER),
            )


def _check_name(browser: str) -> None:
    if not BROWSER_NAME.fullmatch(browser):
        raise InvalidRequestError("A browser's name must have 1 to 100 letters, digits, _, . or -.", field="browser")


def _as_json(body: object) -> str:
    try:
        text = json.dumps(body, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequestError(f"The draft holds something that is no JSON: {error}.", field="draft") from error
    if not isinstance(body, dict):
        raise InvalidRequestError("The draft is not an object with named fields.", field="draft")
    if len(text) > MAX_BYTES:
        raise InvalidRequestError(
            f"The draft has {len(text) / 1e6:.1f} MB; at most 2 MB are kept.",
            field="draft",
            hint="Clear a part of the drawing.",
        )
    return text
