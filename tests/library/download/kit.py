"""Downloads under our hands: a clock that stands, a sleep that does not, as much disk as we say."""

from studio.access import LOCAL_USER
from studio.database import STUDIO_MIGRATIONS, Database
from studio.library.download.fetch import Places
from studio.library.download.ledger import Ledger
from studio.library.download.queue import Downloads, Surroundings
from studio.library.download.web import Web
from tests.library.download.stand_in import FREE, Answer, safetensors

BODY = safetensors()
HALF = len(BODY) // 2


class Desk:
    """Downloads into a folder, with everything that the machine gives under our hands."""

    def __init__(self, folder, server):
        self.models, self.server = folder / "models", server
        self.naps, self.events, self.now, self.free, self.kind = [], [], 0.0, FREE, "unknown"
        self.arrived, self.hashes = (lambda path: {"name": path.name}), {}
        self.meanwhile = lambda stop: None
        self.environment = {"HF_ENDPOINT": f"http://localhost:{server.server_port}", "HF_TOKEN": "hf_secret"}
        self.web = Web(proxies={})
        self.database = Database(folder / "studio.db", STUDIO_MIGRATIONS)
        self.downloads = self.new()

    def new(self, **options):
        """As after a new start of the studio."""
        return Downloads(
            Places(models=self.models, kind_of=lambda path: self.kind),
            ledger=Ledger(self.database),
            tell=lambda event, owner: self.events.append(event),
            arrived=self.welcome,
            surroundings=Surroundings(
                environment=self.environment,
                web=self.web,
                free=lambda folder: self.free,
                sleep=self.sleep,
                clock=lambda: self.now,
            ),
            **options,
        )

    def restart(self):
        """Stop the studio and start it again; what is in the list then."""
        self.downloads.close()
        self.downloads = self.new()
        return self.downloads.list(LOCAL_USER)

    def welcome(self, model):
        self.hashes.update({self.at(file): digest for file, digest in model.hashes.items()})
        return self.arrived(model.path)

    def at(self, file):
        return file.relative_to(self.models).as_posix()

    def sleep(self, seconds, stop):
        """Remember the nap, and do what a test has put in its place."""
        self.naps.append(seconds)
        self.meanwhile(stop)

    def get(self, at_machine=True, **body):
        """Ask, and wait for the end."""
        view = self.downloads.add(body, LOCAL_USER, at_machine=at_machine)
        return self.downloads.wait(view["id"], LOCAL_USER, 20)

    def url(self, path, **body):
        return self.get(url=f"{self.server.url}{path}", **{"kind": "lora", **body})

    def files(self):
        """Every file under models, by its path there."""
        return {self.at(file): file for file in self.models.rglob("*") if file.is_file()}

    def ranges(self, path):
        return [headers.get("Range") for heard, headers in self.server.heard if heard == path]


def leave_part(desk, server, body=BODY, **headers):
    """A half of a file, left by a run that failed."""
    server.answers["/a.safetensors"] = answer = Answer(
        body, headers=headers or {"ETag": '"v1"'}, cuts=[0, HALF, *[0] * 9]
    )
    assert desk.url("/a.safetensors")["state"] == "failed"
    answer.cuts.clear()
    server.heard.clear()
    return answer
