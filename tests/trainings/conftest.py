"""Trainings on the starter, whose process is a small program that speaks the protocol."""

import shutil
import sys
import threading
from pathlib import Path

import pytest

from studio.access import LOCAL_USER
from studio.advice.wish import Pictures
from studio.errors import MissingError
from studio.jobs.lease import Lease
from studio.library.index import Library
from studio.settings import BUILTIN
from studio.trainings.service import Places, Trainings
from tests.library.kit import settings_in

PATIENCE = 60
FAKE = (sys.executable, str(Path(__file__).with_name("fake_child.py")))


class Studio:
    """What trainings need of a studio, and what they told it."""

    def __init__(self, folder: Path):
        self.settings = settings_in(folder)
        self.library = Library(self.settings)
        self.lease, self.heard, self.news = Lease(), [], threading.Condition()
        self.datasets = folder / "sets"
        (self.datasets / "mug").mkdir(parents=True)
        self.counts, self.ids = {"mug": 5, "none": 0}, {"mug": "id-mug"}
        self.places = Places(
            runs=self.settings.paths.root / "training",
            models=self.settings.paths.models,
            trash=self.settings.paths.trash / "training",
            cache=self.settings.paths.root / "cache",
            starter=BUILTIN / "assets" / "starter",
            device="cpu",
            extensions=(),
            annotators=(),
            pictures=self.pictures,
            dataset=lambda name: (self.datasets / name, self.ids[name]),
            checkpoint=lambda name: self.library.find(name or "starter-desk", "checkpoint"),
            arrived=self.arrived,
            tell=self.tell,
        )
        self.trainings = self.open()

    def open(self) -> Trainings:
        return Trainings(self.places, self.library, self.lease, FAKE)

    def pictures(self, name, _resolution, _trigger):
        if name not in self.counts:
            raise MissingError(f"There is no dataset {name!r}.", hint="Add one.")
        return Pictures(name=name, count=self.counts[name])

    def arrived(self, model):
        self.library.refresh()
        return {"key": f"key-{model.path.stem}", "name": model.path.stem}

    def tell(self, event, _owner):
        with self.news:
            self.heard.append(event)
            self.news.notify_all()

    def body(self, trigger="steady", name="green mug", **more):
        settings = {"steps": 3, **more.pop("settings", {})}
        return {
            "name": name,
            "dataset": "mug",
            "checkpoint": "starter-desk",
            "class_word": "cup",
            "trigger": trigger,
            "settings": settings,
        } | more

    def start(self, trigger="steady", **more):
        return self.trainings.start(self.body(trigger, **more), LOCAL_USER)["id"]

    def ended(self, run_id):
        return self.trainings.wait(run_id, LOCAL_USER, PATIENCE)

    def until(self, run_id, **wanted):
        """Wait until the run was told to be so."""

        def found():
            said = [e["run"] for e in self.heard if e["run"]["id"] == run_id]
            return said and all(said[-1][name] == value for name, value in wanted.items())

        with self.news:
            assert self.news.wait_for(found, PATIENCE), self.heard[-1]

    def order(self, run_id, word):
        return self.trainings.order(run_id, word, LOCAL_USER)


@pytest.fixture(scope="session")
def _hashed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hashed")
    studio = Studio(folder)
    studio.library.content_id(studio.library.find("starter-desk", "checkpoint"))
    studio.library.cache.database.close()
    return folder / "data" / "library.db"


@pytest.fixture
def studio(tmp_path, _hashed):
    (tmp_path / "data").mkdir()
    shutil.copy(_hashed, tmp_path / "data" / "library.db")
    made = Studio(tmp_path)
    yield made
    made.trainings.close()
