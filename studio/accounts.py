"""Accounts of a shared studio: salted hashes, sessions that end, and a brake on guessing."""

import hashlib
import hmac
import logging
import re
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from studio.access import LOCAL_USER, User
from studio.database import Database
from studio.errors import StartError, StorageError

log = logging.getLogger("studio.accounts")
NAME = re.compile(r"[A-Za-z0-9_.@-]{1,60}")
PASSWORD_LEAST, PASSWORD_MOST = 8, 1000
SESSION_SECONDS = 14 * 86_400
SCRYPT = {"n": 2**14, "r": 8, "p": 1}
FORGET, KEPT = 3600.0, 10_000
GENERATED = "guest"


@dataclass(frozen=True)
class Account:
    """A name with its password, before it is stored."""

    name: str
    password: str


def read_account(text: str) -> Account:
    """An account from "user:password". Raises: StartError, saying which rule it breaks."""
    name, colon, password = text.strip().partition(":")
    if not colon or not NAME.fullmatch(name):
        raise StartError(
            "An account is given as USER:PASSWORD.", hint="Names have letters, digits and . _ @ -, at most 60."
        )
    if name.lower() == LOCAL_USER.name:
        raise StartError(f"The name {name!r} is taken by the studio's owner.", hint="Choose another name.")
    if not PASSWORD_LEAST <= len(password) <= PASSWORD_MOST:
        wrong = "short" if len(password) < PASSWORD_LEAST else "long"
        hint = f"Use {PASSWORD_LEAST} to {PASSWORD_MOST} characters."
        raise StartError(f"The password of {name} is too {wrong}.", hint=hint)
    return Account(name, password)


def read_accounts(file: Path) -> list[Account]:
    """Accounts from a file of "user:password" lines; empty lines and those that begin with # are left.

    Raises: StartError, naming the line.
    """
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"The accounts in {file} cannot be read: {error}.") from error
    accounts = dict[str, Account]()
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            account = read_account(line)
        except StartError as error:
            raise StartError(f"{file.name}, line {number}: {error}", hint=error.hint) from error
        if account.name in accounts:
            raise StartError(f"{file.name}, line {number}: {account.name} was there already.", hint="Keep one line.")
        accounts[account.name] = account
    if not accounts:
        raise StartError(f"{file.name} holds no account.", hint="Write one USER:PASSWORD a line.")
    return list(accounts.values())


@dataclass(frozen=True)
class Law:
    """How many wrong tries are free, and the longest wait in seconds; in between each further one doubles the wait."""

    free: int
    longest: float


ADDRESS, ACCOUNT = Law(free=4, longest=300.0), Law(free=20, longest=30.0)


@dataclass
class Brake:
    """Slows guessing down. A try is counted before its password is looked at, and given back when it was right.

    An address is slowed down soon and for long; an account, which anybody may knock at, late and never for long.
    """

    clock: Callable[[], float] = time.monotonic
    tries: dict[tuple[str, Law], tuple[int, float]] = field(default_factory=dict[tuple[str, Law], tuple[int, float]])

    def wait(self, *keys: tuple[str, Law]) -> float:
        """Seconds until the next try is heard; 0 when it is heard now."""
        return max(self._wait(key) for key in keys)

    def take(self, *keys: tuple[str, Law]) -> None:
        """Count a try."""
        now = self.clock()
        fresh = {key: v for key, v in self.tries.items() if now - v[1] < FORGET and key not in keys}
        taken = {key: (self._count(key, now) + 1, now) for key in keys}
        self.tries = dict([*fresh.items(), *taken.items()][-KEPT:])

    def give_back(self, *keys: tuple[str, Law]) -> None:
        """The try was no guess; earlier ones stay counted, whoever made them."""
        for key in keys:
            count, last = self.tries.pop(key, (0, 0.0))
            if count > 1:
                self.tries[key] = (count - 1, last)

    def _count(self, key: tuple[str, Law], now: float) -> int:
        count, last = self.tries.get(key, (0, 0.0))
        return count if now - last < FORGET else 0

    def _wait(self, key: tuple[str, Law]) -> float:
        now = self.clock()
        count, over = self._count(key, now), self._count(key, now) - key[1].free
        if over < 0 or not count:
            return 0.0
        return max(0.0, self.tries[key][1] + min(key[1].longest, 2.0 ** min(over, 20)) - now)


class Accounts:
    """The accounts and sessions in studio.db. Passwords are kept as scrypt hashes, session tokens as sha256."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self.database = database
        self.brake = Brake(clock)
        self.owner_key = secrets.token_urlsafe(24)
        self._one_at_a_time = threading.Lock()
        self._proved: dict[bytes, User] = {}

    def put(self, account: Account) -> None:
        """Add an account, or give it a new password: then its sessions end."""
        if self.check(account.name, account.password) is not None:
            return
        salt = secrets.token_bytes(16)
        with self.database.write() as tx:
            tx.execute("DELETE FROM sessions WHERE name = ?", (account.name,))
            tx.execute(
                "INSERT OR REPLACE INTO accounts VALUES (?, ?, ?, 'guest', ?)",
                (account.name, salt, _hash(account.password, salt), time.time()),
            )
        self._proved.clear()

    def keep_only(self, accounts: Sequence[Account]) -> None:
        """Let exactly these in: accounts of an earlier start end, their pictures stay."""
        gone = [(name,) for name in self.names() if name not in {account.name for account in accounts}]
        with self.database.write() as tx:
            tx.executemany("DELETE FROM sessions WHERE name = ?", gone)
            tx.executemany("DELETE FROM accounts WHERE name = ?", gone)
        self._proved.clear()
        for account in accounts:
            self.put(account)

    def names(self) -> list[str]:
        """The names of all accounts."""
        with self.database.read() as tx:
            return [row["name"] for row in tx.execute("SELECT name FROM accounts ORDER BY name")]

    def ensure_one(self) -> Account | None:
        """Make an account if there is none; it is returned once, since only its hash is kept."""
        if self.names():
            return None
        account = Account(GENERATED, secrets.token_urlsafe(9))
        self.put(account)
        return account

    def check(self, name: str, password: str) -> User | None:
        """The user, if the password is right. An unknown name takes as long as a known one."""
        with self.database.read() as tx:
            row = tx.execute("SELECT * FROM accounts WHERE name = ?", (_plain(name),)).fetchone()
        salt, stored = (row["salt"], row["hash"]) if row else (b"0" * 16, b"0" * 64)
        right = hmac.compare_digest(_hash(password, salt), stored)
        return User(row["name"], row["role"]) if right and row else None

    def log_in(self, name: str, password: str, address: str) -> tuple[User | None, float]:
        """The user if the password is right, else None; and the seconds to wait before the next try is heard."""
        keys = ((f"address {address}", ADDRESS), (f"account {name[:60]}", ACCOUNT))
        with self._one_at_a_time:  # so that many tries at once are counted one by one, and hashed in turn
            if wait := self.brake.wait(*keys):
                return None, wait
            self.brake.take(*keys)
            user = self.check(name, password)
            if user is not None:
                self.brake.give_back(*keys)
                return user, 0.0
            log.warning("wrong password for %r from %s", name[:60], address)
            return None, self.brake.wait(*keys)

    def log_in_again(self, name: str, password: str, address: str) -> tuple[User | None, float]:
        """`log_in` for programs, which send the password each time: one that was right is known at once."""
        digest = hmac.digest(self.owner_key.encode(), f"{name}\0{password}".encode("utf-8", "replace"), "sha256")
        if (user := self._proved.get(digest)) is not None:
            return user, 0.0
        user, wait = self.log_in(name, password, address)
        if user is not None:
            self._proved[digest] = user
        return user, wait

    def owns(self, key: str) -> bool:
        """Whether that is the key that was printed for the studio's owner."""
        return hmac.compare_digest(key.encode("utf-8", "replace"), self.owner_key.encode())

    def open_session(self, user: User) -> str:
        """A token for a cookie."""
        token, now = secrets.token_urlsafe(32), time.time()
        with self.database.write() as tx:
            tx.execute("DELETE FROM sessions WHERE expires < ?", (now,))
            tx.execute(
                "INSERT INTO sessions VALUES (?, ?, ?, ?)", (_digest(token), user.name, now, now + SESSION_SECONDS)
            )
        return token

    def session(self, token: str) -> User | None:
        """The user of a token that has not ended."""
        with self.database.read() as tx:
            row = tx.execute(
                "SELECT s.name, a.role FROM sessions s LEFT JOIN accounts a ON a.name = s.name"
                " WHERE token_hash = ? AND expires > ?",
                (_digest(token), time.time()),
            ).fetchone()
        if row is None:
            return None
        if row["name"] == LOCAL_USER.name:
            return LOCAL_USER
        return User(row["name"], row["role"]) if row["role"] else None

    def close_session(self, token: str) -> None:
        """End a session."""
        try:
            with self.database.write() as tx:
                tx.execute("DELETE FROM sessions WHERE token_hash = ?", (_digest(token),))
        except StorageError as error:
            log.warning("a session could not be ended: %s", error)


def _plain(text: str) -> str:
    """Text that the database takes, whatever was sent."""
    return text[:60].encode("utf-8", "replace").decode()


def _hash(password: str, salt: bytes) -> bytes:
    plain = password[: PASSWORD_MOST + 1].encode("utf-8", "surrogatepass")
    return hashlib.scrypt(plain, salt=salt, maxmem=64 * 2**20, **SCRYPT)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
