"""A real studio in a folder of its own, whose worker never starts: what is queued stays queued."""

from pathlib import Path

import pytest

from studio.accounts import Account
from studio.api.guard import Policy
from studio.app import build_studio
from studio.settings import load_settings
from tests.api.kit import ANN, BOB, PASSWORD, client


@pytest.fixture(scope="session")
def hashes(tmp_path_factory):
    """The content ids of the starter's files, found once for all tests."""
    folder = tmp_path_factory.mktemp("hashes")
    library = build_studio(load_settings(folder)).library
    for entry in library.entries():
        library.content_id(entry)
    library.cache.database.close()
    return (folder / "library.db").read_bytes()


@pytest.fixture
def studio(tmp_path: Path, hashes: bytes):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "library.db").write_bytes(hashes)
    built = build_studio(load_settings(tmp_path / "data"))
    yield built
    built.events.close()


@pytest.fixture
def shared(studio):
    """The policy of a shared studio with two guests, Ann and Bob."""
    for user in (ANN, BOB):
        studio.accounts.put(Account(user.name, PASSWORD))
    return Policy(accounts=studio.accounts)


@pytest.fixture
def local(studio):
    """The person at the machine."""
    return client(studio, Policy())


@pytest.fixture
def stranger(studio, shared):
    """Somebody who did not log in."""
    return client(studio, shared)


@pytest.fixture
def ann(studio, shared):
    """A guest who did."""
    return client(studio, shared, ANN)


@pytest.fixture
def bob(studio, shared):
    """Another guest."""
    return client(studio, shared, BOB)


@pytest.fixture
def owner(studio, shared):
    """The owner, come in with the printed key."""
    came = client(studio, shared)
    came.get("/", params={"key": studio.accounts.owner_key})
    return came
