import json
from contextlib import contextmanager

import pytest
from PIL import Image

from studio.app import open_studio
from studio.cli.parser import parse
from studio.cli.train import Progress, RemoteTrainer, follow, imported, read_request, shared, train
from studio.errors import InvalidRequestError, WorkerError
from studio.settings import load_settings
from tests.trainings.conftest import FAKE


@pytest.fixture
def job(tmp_path):
    """Writes the file of a run beside five pictures, and trains it; a small program stands for the process."""
    (tmp_path / "mug").mkdir()
    for number in range(5):
        Image.effect_noise((128, 128), 40 + number).convert("RGB").save(tmp_path / "mug" / f"{number}.png")

    @contextmanager
    def opened(settings, *, worker):
        assert not worker
        with open_studio(settings, worker=False) as studio:
            studio.trainings.command = FAKE
            yield studio

    def run(*words, trigger="steady", **more):
        fields = {"name": "mug", "dataset": "mug", "class_word": "cup", "trigger": trigger} | more
        lines = [f"{name} = {json.dumps(value)}\n" for name, value in fields.items()]
        (tmp_path / "run.toml").write_text("".join([*lines, "[settings]\nsteps = 3\n"]))
        flags = parse(["train", str(tmp_path / "run.toml"), *words])
        return train(flags, load_settings(tmp_path / "data"), opened)

    return run


def test_a_folder_becomes_a_model(job, tmp_path, capsys):
    assert job("--json") == 0
    said, told = capsys.readouterr()
    found = json.loads(said)
    assert (found["status"], found["step"], found["params"]["dataset"]) == ("done", 3, "mug")
    assert found["files"] == [str(tmp_path / "data" / "models" / "loras" / "mug.safetensors")]
    assert (tmp_path / "data" / "models" / "loras" / "mug.safetensors").is_file()
    assert "step 3 of 3, loss 0.5" in told
    assert len(list((tmp_path / "data" / "datasets" / "mug").glob("*.png"))) == 5
    with pytest.raises(InvalidRequestError, match="There is a model mug already"):
        job()


def test_a_run_that_fails_says_so_and_may_go_on(job, capsys):
    assert job(trigger="fails") == 1
    assert "It cannot learn. Do otherwise." in capsys.readouterr().err
    assert job("--resume", trigger="fails") == 1
    with pytest.raises(InvalidRequestError, match="ended early"):
        job("--resume", name="other")


def test_what_the_file_says_is_checked(job, tmp_path):
    with pytest.raises(InvalidRequestError, match="dataset is missing"):
        job(dataset="")
    with pytest.raises(InvalidRequestError, match="There is no dataset"):
        job(dataset="gone")
    with pytest.raises(InvalidRequestError) as refused:
        job(name="../up")
    assert refused.value.field == "name"
    with pytest.raises(InvalidRequestError, match="cannot be read"):
        read_request(tmp_path / "gone.toml")
    (tmp_path / "odd.toml").write_text("name = ")
    with pytest.raises(InvalidRequestError, match="cannot be read"):
        read_request(tmp_path / "odd.toml")


class Remote:
    """A studio over HTTP that has one dataset, and remembers what it was asked."""

    def __init__(self, *happening):
        self.asked, self.happening = [], happening

    def ask(self, path, body=None, kind="", method=None):
        self.asked.append((path, json.loads(body) if body else None))
        answers = {
            "/api/v1/datasets": [{"name": "mug"}],
            "/api/v1/datasets/mug": {"pictures": [{"file": "9.png"}]},
            "/api/v1/training/runs": [view("done")],
        }
        return answers.get(path, {})

    def events(self):
        yield from self.happening


def view(state):
    return {"id": "1", "state": state, "phase": "training", "step": 1, "steps": 2, "loss": None, "left": 1.0}


def test_another_dataset_of_that_name_is_left_alone(job, tmp_path):
    remote = Remote()
    with pytest.raises(InvalidRequestError, match=r"with 9\.png in it"):
        imported(RemoteTrainer(remote), {"name": "mug", "dataset": "mug"}, tmp_path)
    told = imported(RemoteTrainer(remote), {"name": "jar", "dataset": "mug"}, tmp_path)
    assert told["dataset"] == "jar"
    assert remote.asked[-1] == ("/api/v1/datasets/jar/folder", {"path": str(tmp_path / "mug")})


def test_a_studio_that_serves_is_followed_to_the_end():
    happening = ({"type": "training", "run": view("running")}, {"type": "job"}, None)
    trainer = RemoteTrainer(Remote(*happening))
    assert follow(trainer, trainer.events(), view("queued"), Progress(terminal=False))["state"] == "done"
    lost = RemoteTrainer(Remote({"type": "training", "run": view("running")}))
    with pytest.raises(WorkerError, match="stopped while the training ran"):
        follow(lost, lost.events(), view("queued"), Progress(terminal=True))


def test_a_run_is_shared_among_as_many_processes_as_are_asked_for(job, monkeypatch):
    assert shared({"name": "mug"}, 0) == {"name": "mug"}
    assert shared({"settings": {"steps": 3}}, 2) == {"settings": {"steps": 3, "processes": 2}}
    with pytest.raises(InvalidRequestError, match="processes"):
        job("--processes", "17")
    monkeypatch.setenv("WORLD_SIZE", "17")
    with pytest.raises(InvalidRequestError, match="processes"):
        job()


def test_of_processes_that_were_started_together_the_first_one_has_the_run(job, monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert job() == 0
    assert not (tmp_path / "data").exists()
