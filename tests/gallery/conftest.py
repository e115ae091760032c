import pytest

from studio.database import open_studio_database
from studio.gallery.index import Gallery
from studio.settings import Paths


@pytest.fixture
def paths(tmp_path):
    paths = Paths(root=tmp_path / "data")
    paths.create()
    return paths


@pytest.fixture
def database(paths):
    opened, warnings = open_studio_database(paths.studio_db)
    assert not warnings
    yield opened
    opened.close()


@pytest.fixture
def gallery(paths, database):
    return Gallery(paths, database)
