import pytest

from tests.library.download.kit import Desk
from tests.library.download.stand_in import serving


@pytest.fixture
def server():
    with serving() as server:
        yield server


@pytest.fixture
def desk(tmp_path, server):
    made = Desk(tmp_path, server)
    yield made
    made.downloads.close()
    made.web.close()
    made.database.close()
