import io
import json
from contextlib import contextmanager

import pytest
from PIL import Image

from studio.cli import generate as module
from studio.cli.generate import Progress, check_out, follow, generate, save, summary
from studio.cli.parser import parse
from studio.errors import InvalidRequestError, WorkerError
from studio.settings import load_settings

PARAMS = {"prompt": "a house", "num_inference_steps": 10, "strength": 1.0}
DONE = {
    "id": "job",
    "state": "done",
    "results": [{"id": 1, "seed": 5}, {"id": 2, "seed": 6}],
    "seconds": {"load": 1.0, "denoise": 4.0},
    "warnings": ["Slow."],
    "error": "",
    "hint": "",
}


class FakeStudio:
    """A backend whose job runs through `states`, one for each time it is asked."""

    def __init__(self, *states, happening=(None,)):
        self.states = list(states)
        self.happening = happening
        self.cancelled = False

    def keep(self, data):
        return "a" * 64

    def annotate(self, asset, annotator, options):
        return {"map": "b" * 64, "annotator": annotator, "options": options}

    def submit(self, request):
        return {"job": {"id": "job"}, "params": PARAMS, "warnings": ["Slow.", "Rounded."]}

    def events(self):
        for event in self.happening:
            if event is KeyboardInterrupt:
                raise event
            yield event

    def job(self, job_id):
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def cancel(self, job_id):
        self.cancelled = True

    def picture(self, item):
        file = io.BytesIO()
        Image.new("RGB", (8, 8), (item["seed"], 0, 0)).save(file, "PNG")
        return file.getvalue()


def run(studio, monkeypatch, tmp_path, *words):
    @contextmanager
    def backend(settings, open_studio):
        yield studio

    monkeypatch.setattr(module, "backend", backend)
    flags = parse(["generate", "--prompt", "x", "--out", str(tmp_path / "house.png"), *words])
    return generate(flags, load_settings(tmp_path / "data"), None)


def test_the_pictures_lie_where_they_were_asked_for(monkeypatch, tmp_path, capsys):
    assert run(FakeStudio(DONE), monkeypatch, tmp_path) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert Image.open(first).getpixel((0, 0)) == (5, 0, 0)
    assert Image.open(second).getpixel((0, 0)) == (6, 0, 0)
    assert second.endswith("house-2.png")


def test_json_is_one_value_printed_last(monkeypatch, tmp_path, capsys):
    assert run(FakeStudio(DONE), monkeypatch, tmp_path, "--json") == 0
    said = capsys.readouterr()
    report = json.loads(said.out)
    assert set(report) == {"status", "images", "seconds", "steps_per_second", "params", "warnings"}
    assert report["images"][0] == {"path": str(tmp_path / "house.png"), "seed": 5}
    assert (report["status"], report["seconds"], report["steps_per_second"]) == ("done", 5.0, 5.0)
    assert report["warnings"] == ["Slow.", "Rounded."]
    assert "Note: Rounded." in said.err


def test_a_failed_job_is_status_1_with_its_sentence(monkeypatch, tmp_path, capsys):
    failed = DONE | {"state": "failed", "results": [], "error": "No memory.", "hint": "Make it smaller."}
    assert run(FakeStudio(failed), monkeypatch, tmp_path, "--json") == 1
    said = capsys.readouterr()
    assert said.err.splitlines()[-1] == "No memory. Make it smaller."
    assert json.loads(said.out)["status"] == "failed"
    assert not list(tmp_path.glob("*.png"))


def test_the_job_is_followed_to_its_end(capsys):
    steps = [{"type": "progress", "job_id": "job", "phase": "denoising", "step": n, "steps": 2} for n in (1, 2)]
    studio = FakeStudio(DONE | {"state": "running"}, DONE, happening=[None, *steps, {"type": "job"}])
    assert follow(studio, "job", Progress(terminal=False)) == DONE
    assert capsys.readouterr().err == "denoising\n"


def test_progress_of_other_jobs_is_not_shown(capsys):
    other = {"type": "progress", "job_id": "other", "phase": "denoising", "step": 1, "steps": 2}
    follow(FakeStudio(DONE, happening=[other, None]), "job", Progress(terminal=True))
    assert capsys.readouterr().err == ""


def test_a_terminal_shows_the_step_and_the_time_left(capsys):
    progress = Progress(terminal=True)
    progress.show({"phase": "denoising", "step": 3, "steps": 20, "seconds_left": 4.2})
    progress.end()
    assert capsys.readouterr().err.strip() == "denoising, step 3 of 20, 4 s left"


def test_ctrl_c_cancels_the_job():
    studio = FakeStudio(DONE | {"state": "running"}, happening=[KeyboardInterrupt])
    assert follow(studio, "job", Progress(terminal=False))["state"] == "cancelled"
    assert studio.cancelled


def test_a_studio_that_stops_meanwhile_is_an_error():
    with pytest.raises(WorkerError, match="stopped while the job ran"):
        follow(FakeStudio(DONE | {"state": "running"}), "job", Progress(terminal=False))


def test_img2img_counts_the_steps_that_it_ran(tmp_path):
    submitted = {"params": PARAMS | {"strength": 0.5}, "warnings": []}
    paths = save(FakeStudio(DONE), DONE, tmp_path / "a.png")
    assert summary(DONE, submitted, paths)["steps_per_second"] == 2.5


@pytest.mark.parametrize("name", ["x.jpg", "x", "."])
def test_out_must_be_a_png_file(name, tmp_path):
    with pytest.raises(InvalidRequestError, match="--out"):
        check_out(tmp_path / name)
