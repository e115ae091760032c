"""The worker in a real process, spoken to as the web process speaks to it."""

import multiprocessing

import pytest
from PIL import Image, ImageDraw

from studio.messages import (
    Annotate,
    Annotated,
    Cancel,
    Cancelled,
    Failed,
    Free,
    Generate,
    Hello,
    Identified,
    Identify,
    Loading,
    Prefetch,
    Preview,
    Progress,
    Ready,
    Resident,
    Result,
    Shutdown,
    Tokenize,
    Tokenized,
)
from studio.params import ControlUnit, asset_path
from studio.worker.process import Inbox, main
from tests import tiny

MAP = "a" * 64
CONTROL = ControlUnit(kind="scribble", map=MAP, model="control", model_id="id-control")
PATIENCE = 120


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    pipe = tiny.tiny_pipeline()
    pipe.save_pretrained(root / "tiny")
    tiny.tiny_controlnet(pipe.unet).save_pretrained(root / "control")
    found = [tiny.location(root / "tiny"), tiny.location(root / "control", "controlnet")]
    return {location.id: location for location in found}


@pytest.fixture(scope="module")
def assets(tmp_path_factory):
    root = tmp_path_factory.mktemp("assets")
    image = Image.new("RGB", (tiny.SIZE, tiny.SIZE))
    ImageDraw.Draw(image).ellipse((6, 6, 26, 26), outline="white", width=2)
    asset_path(root, MAP).parent.mkdir()
    image.save(asset_path(root, MAP))
    return root


class Talk:
    """A worker process, and what it said."""

    def __init__(self, assets):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=main, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()
        self.pipe.send(Hello(assets=str(assets), device="cpu", precision="fp32"))

    def hear(self):
        assert self.pipe.poll(PATIENCE), "the worker says nothing"
        return self.pipe.recv()

    def until(self, *kinds):
        """Everything up to the first message of one of the kinds."""
        heard = [self.hear()]
        while not isinstance(heard[-1], kinds):
            heard.append(self.hear())
        return heard


@pytest.fixture(scope="module")
def talk(assets):
    talk = Talk(assets)
    (ready,) = talk.until(Ready)
    assert (ready.device, ready.precision, ready.kernel) == ("cpu", "fp32", "sdpa")
    assert {type(value) for value in ready.versions.values()} == {str}  # a type of torch would load torch over there
    yield talk
    talk.pipe.send(Shutdown())
    talk.process.join(PATIENCE)
    assert talk.process.exitcode == 0


def test_a_job_gives_progress_previews_and_its_pictures(talk, models):
    talk.pipe.send(Generate("job", tiny.params(controls=(CONTROL,), count=2), models))
    *told, result = talk.until(Result, Failed)
    assert isinstance(result, Result), result
    assert [(image.width, image.height, image.seed) for image in result.images] == [(32, 32, 3), (32, 32, 4)]
    assert len(result.images[0].rgb) == 32 * 32 * 3
    assert {"load", "encode", "denoise", "decode"} == set(result.seconds)
    steps = [m for m in told if isinstance(m, Progress) and m.phase == "denoising" and m.step]
    assert [(m.step, m.steps) for m in steps] == [(i, 4) for i in range(1, 5)]
    assert all(m.seconds_left is not None and m.seconds_left >= 0 for m in steps)
    previews = [m for m in told if isinstance(m, Preview)]
    assert [m.step for m in previews] == [1, 2, 3, 4]
    assert previews[0].jpeg[:2] == b"\xff\xd8"


def test_previews_come_as_often_as_was_asked(talk, models):
    talk.pipe.send(Generate("rare", tiny.params(), models, preview_every=2))
    assert [m.step for m in talk.until(Result) if isinstance(m, Preview)] == [2, 4]
    talk.pipe.send(Generate("none", tiny.params(), models, preview_every=0))
    assert not [m for m in talk.until(Result) if isinstance(m, Preview)]


def test_a_question_about_a_file_has_an_answer_whatever_it_is_and_whether_there_is_a_spandrel(talk, tmp_path):
    (tmp_path / "text.pth").write_bytes(b"text")
    for name in ("text.pth", "gone.pth"):
        talk.pipe.send(Identify(str(tmp_path / name), "mark"))
        answer = talk.until(Identified)[-1]
        assert answer in [Identified(str(tmp_path / name), "mark", looked) for looked in (True, False)]


def test_a_map_is_made_between_two_steps_of_a_job(talk, models):
    talk.pipe.send(Generate("long", tiny.params(num_inference_steps=150), models))
    talk.until(Preview)
    talk.pipe.send(Annotate("map", MAP, "canny", (("low_threshold", 50.0), ("high_threshold", 100.0))))
    made = talk.until(Annotated, Result)[-1]
    assert (made.id, made.width, made.height, made.message) == ("map", tiny.SIZE, tiny.SIZE, "")
    assert set(made.rgb) == {0, 255}
    talk.pipe.send(Cancel("long"))
    assert isinstance(talk.until(Cancelled, Result)[-1], Cancelled)


@pytest.mark.parametrize(
    ("question", "says"),
    [
        (Annotate("gone", "b" * 64, "canny"), "The picture bbbbbbbbbbbb is not here any more."),
        (Annotate("bug", MAP, "canny", (("depth", 1.0),)), "TypeError"),
    ],
)
def test_a_map_that_cannot_be_made_is_told_and_the_worker_goes_on(talk, question, says):
    talk.pipe.send(question)
    said = talk.until(Annotated)[-1]
    assert says in said.message
    assert said.hint
    assert bool(said.detail) == (question.id == "bug")
    talk.pipe.send(Annotate("next", MAP, "invert"))
    assert not talk.until(Annotated)[-1].message


def test_of_the_maps_that_a_page_asked_for_the_last_is_made():
    ours, theirs = multiprocessing.Pipe()
    for name, page in (("a", "one"), ("b", "two"), ("c", ""), ("d", "one"), ("e", "")):
        theirs.send(Annotate(name, MAP, "canny", page=page))
    theirs.close()
    inbox = Inbox(ours)
    inbox.receive()
    assert [message.id for message in inbox.messages] == ["b", "c", "d", "e"]
    assert inbox.next_question().id == "b"


def test_a_prompt_is_read_while_a_job_runs(talk, models):
    talk.pipe.send(Generate("long", tiny.params(num_inference_steps=150), models))
    talk.until(Preview)
    talk.pipe.send(Tokenize("q", models["id-tiny"], "a (cat:1.5)", "", 4))
    said = talk.until(Tokenized, Result)[-1]
    assert [chip["text"] for chip in said.view["lines"][0]["spans"][0]["windows"][0]] == ["a", "c", "a", "t"]
    talk.pipe.send(Cancel("long"))
    talk.until(Cancelled, Result)


def test_cancelling_ends_the_job_and_the_next_one_runs(talk, models):
    talk.pipe.send(Generate("long", tiny.params(num_inference_steps=150), models))
    talk.until(Preview)
    talk.pipe.send(Cancel("long"))
    assert isinstance(talk.until(Cancelled, Result)[-1], Cancelled)
    talk.pipe.send(Generate("next", tiny.params(), models))
    assert talk.until(Result, Cancelled)[-1].job_id == "next"


def test_a_job_that_fails_says_why_and_the_next_one_runs(talk, models):
    lost = ControlUnit(kind="scribble", map="b" * 64, model="control", model_id="id-control")
    talk.pipe.send(Generate("lost", tiny.params(controls=(lost,)), models))
    failed = talk.until(Failed, Result)[-1]
    assert failed.message == "The picture bbbbbbbbbbbb is not here any more."
    assert failed.hint
    talk.pipe.send(Generate("after", tiny.params(), models))
    assert isinstance(talk.until(Result, Failed)[-1], Result)


def test_with_turbo_a_picture_waits_for_nothing_and_is_the_same_the_first_time(talk, models):
    talk.pipe.send(Generate("plain", tiny.params(), models))
    plain = talk.until(Result, Failed)[-1]
    talk.pipe.send(Generate("turbo", tiny.params(), models, turbo=True))
    first = talk.until(Result, Failed)[-1]
    assert first.images[0].rgb == plain.images[0].rgb


def test_a_bug_is_told_with_its_traceback_and_the_worker_goes_on(talk, models):
    talk.pipe.send(Generate("bug", tiny.params(scheduler="nothing"), models))
    failed = talk.until(Failed, Result)[-1]
    assert "did not expect" in failed.message
    assert "Traceback" in failed.detail
    talk.pipe.send(Generate("good", tiny.params(), models))
    assert isinstance(talk.until(Result, Failed)[-1], Result)


def test_after_a_job_it_says_what_is_in_memory(talk, models):
    talk.pipe.send(Generate("job", tiny.params(), models))
    talk.until(Result)
    assert "tiny" in {entry["name"] for entry in talk.until(Resident)[-1].models}


def test_warming_up_loads_and_freeing_unloads(talk, models):
    talk.pipe.send(Free())
    while talk.until(Resident)[-1].models:
        pass  # what it said after earlier jobs
    talk.pipe.send(Prefetch(models["id-tiny"], (models["id-control"],)))
    *told, resident = talk.until(Resident)
    assert [(m.name, m.state) for m in told if isinstance(m, Loading)] == [("tiny", "loading"), ("tiny", "ready")]
    assert {entry["name"] for entry in resident.models} == {"tiny", "control"}
    assert all(entry["bytes"] > 0 for entry in resident.models)
    assert resident.memory["process"] > 0
    assert 0 < resident.memory["host_available"] < resident.memory["host_total"]


def test_a_selected_model_that_cannot_be_loaded_is_told(talk, models, tmp_path):
    talk.pipe.send(Prefetch(tiny.location(tmp_path)))
    told = [m for m in talk.until(Resident) if isinstance(m, Loading)]
    assert [m.state for m in told] == ["loading", "failed"]
    assert told[1].reason


def test_the_worker_ends_when_the_web_process_is_gone(assets):
    talk = Talk(assets)
    talk.until(Ready)
    talk.pipe.close()
    talk.process.join(PATIENCE)
    assert talk.process.exitcode == 0
