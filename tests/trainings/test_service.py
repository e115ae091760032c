import json

import pytest

from studio.access import LOCAL_USER, User
from studio.errors import ForbiddenError, InvalidRequestError, JobError, MissingError, ModelNotFoundError
from tests.trainings.conftest import Studio


def test_a_run_goes_from_pictures_to_a_model_in_the_library(studio):
    run_id = studio.start()
    view = studio.ended(run_id)
    assert (view["state"], view["error"], view["step"], view["loss"]) == ("done", "", 3, 0.5)
    assert view["verdict"] == {"verdict": "best", "text": "About best here.", "best_step": 3}
    assert (view["kept"], view["cover"], view["scores"]) == (3, "samples/3-0.png", {"3": {"similarity": 0.5}})
    assert [(one["name"], one["kind"], one["step"]) for one in view["results"]] == [("green mug", "lora", 3)]
    assert (studio.settings.paths.models / "loras" / "green mug.safetensors").is_file()
    states = [e["run"]["state"] for e in studio.heard]
    assert [s for i, s in enumerate(states) if not i or s != states[i - 1]] == [
        "queued",
        "preparing",
        "running",
        "done",
    ]
    shown = studio.trainings.get(run_id, LOCAL_USER)
    assert [e["event"] for e in shown["log"]][-2:] == ["verdict", "done"]
    assert studio.trainings.header(run_id, LOCAL_USER) == {"ss_network_dim": "4"}
    assert studio.trainings.file(run_id, "samples/3-0.png", LOCAL_USER).read_bytes() == b"\x89PNG"
    assert studio.lease.reason == ""


def test_a_slow_run_pauses_goes_on_and_samples_only_when_that_makes_sense(studio):
    run_id = studio.start("slow")
    studio.until(run_id, state="running")
    with pytest.raises(JobError, match="is running"):
        studio.order(run_id, "go")
    with pytest.raises(JobError) as refused:
        studio.trainings.delete(run_id, LOCAL_USER)
    assert refused.value.hint == "Stop it first."
    studio.order(run_id, "sample")
    studio.until(run_id, step=1)
    studio.order(run_id, "pause")
    studio.until(run_id, state="paused")
    assert studio.lease.reason == ""
    studio.order(run_id, "go")
    studio.until(run_id, state="running")
    assert "green mug" in studio.lease.reason
    studio.order(run_id, "stop")
    view = studio.ended(run_id)
    assert (view["state"], view["resumable"], view["kept"]) == ("stopped", True, 2)
    studio.order(run_id, "resume")
    for _ in range(2):
        studio.until(run_id, state="running")
        studio.order(run_id, "sample")
    view = studio.ended(run_id)
    assert (view["state"], view["step"], [one["name"] for one in view["results"]]) == ("done", 3, ["green mug"])


def test_runs_wait_for_each_other_and_one_that_waits_can_be_stopped(studio):
    first, second, third = (studio.start("slow", name=name) for name in ("one", "two", "three"))
    studio.until(first, state="running")
    assert [run["state"] for run in studio.trainings.list(LOCAL_USER)] == ["running", "queued", "queued"]
    assert studio.order(second, "stop")["state"] == "stopped"
    studio.order(first, "stop")
    studio.until(third, state="running")
    studio.order(third, "stop")
    assert studio.ended(third)["state"] == "stopped"
    assert not studio.trainings.get(second, LOCAL_USER)["results"]


def test_pictures_that_wait_pause_a_run_that_yields(studio):
    looks = []
    studio.lease.serve(lambda: looks.append(1))
    run_id = studio.start("slow")
    studio.until(run_id, state="queued")
    waiting = 1
    while studio.lease.keeps_back(lambda: waiting, lambda _message: None) or not looks:
        pass
    waiting = 0
    grant(studio, lambda: waiting)
    studio.until(run_id, state="running")
    waiting = 1
    assert studio.lease.keeps_back(lambda: waiting, lambda _message: None)
    studio.until(run_id, state="paused", phase="pictures")
    assert not studio.lease.keeps_back(lambda: waiting, lambda _message: None)
    waiting = 0
    grant(studio, lambda: waiting)
    studio.until(run_id, state="running")
    studio.order(run_id, "stop")
    assert studio.ended(run_id)["state"] == "stopped"


def test_a_run_that_makes_way_where_memory_is_short_ends_its_process_and_goes_on_in_another(studio):
    studio.lease.serve(lambda: None)
    run_id = studio.start("restful")
    waiting = 0
    grant(studio, lambda: waiting)
    studio.until(run_id, state="running")
    studio.order(run_id, "sample")
    studio.until(run_id, step=1)
    waiting = 1
    assert studio.lease.keeps_back(lambda: waiting, lambda _message: None)
    studio.until(run_id, state="paused", phase="pictures")
    while studio.lease.keeps_back(lambda: waiting, lambda _message: None):
        pass  # the device is given back when the process is gone
    assert studio.trainings._course._child is None
    waiting = 0
    grant(studio, lambda: waiting)
    studio.until(run_id, state="running")
    for step in (2, 3):
        studio.order(run_id, "sample")
        studio.until(run_id, step=step)
    assert studio.ended(run_id)["state"] == "done"
    assert (loaded(studio, run_id), steps(studio, run_id)) == (2, [1, 2, 3])


def test_a_pause_frees_the_memory_and_ends_with_go_or_stop(studio):
    run_id = studio.start("restful")
    for word in ("go", "stop"):
        studio.until(run_id, state="running")
        studio.order(run_id, "sample")
        studio.order(run_id, "pause")
        studio.until(run_id, state="paused", phase="")
        studio.order(run_id, word)
    view = studio.ended(run_id)
    assert (view["state"], view["step"], view["kept"], view["resumable"]) == ("stopped", 2, 2, True)
    assert (loaded(studio, run_id), steps(studio, run_id)) == (3, [1, 2])
    assert studio.lease.reason == ""


def test_a_run_that_rests_without_a_process_is_interrupted_when_the_studio_ends(studio):
    run_id = studio.start("restful")
    studio.until(run_id, state="running")
    studio.order(run_id, "pause")
    studio.until(run_id, state="paused")
    studio.trainings.close()
    assert studio.trainings.get(run_id, LOCAL_USER)["state"] == "interrupted"


def loaded(studio, run_id):
    """How many processes began."""
    return sum(e.get("name") == "loading" for e in studio.trainings.get(run_id, LOCAL_USER)["log"])


def steps(studio, run_id):
    return [e["step"] for e in studio.trainings.get(run_id, LOCAL_USER)["log"] if e["event"] == "step"]


def test_pictures_wait_for_a_run_that_does_not_yield(studio):
    studio.lease.serve(lambda: None)
    run_id = studio.start("slow", yield_to_pictures=False)
    grant(studio, lambda: 1)
    studio.until(run_id, state="running")
    assert studio.lease.keeps_back(lambda: 1, lambda _message: None)
    studio.order(run_id, "sample")
    studio.until(run_id, step=1)
    assert studio.trainings.get(run_id, LOCAL_USER)["state"] == "running"
    studio.order(run_id, "stop")
    assert studio.ended(run_id)["state"] == "stopped"


def grant(studio, waiting):
    """The worker's side: unload, and say so."""
    from studio.messages import Resident

    sent = []
    while not sent:
        studio.lease.keeps_back(waiting, sent.append)
    studio.lease.heard(Resident((), {}))


def test_a_run_that_fails_says_why_and_one_that_dies_is_told_so(studio):
    view = studio.ended(studio.start("fails"))
    assert (view["state"], view["error"], view["hint"], view["field"]) == (
        "failed",
        "It cannot learn.",
        "Do otherwise.",
        "rank",
    )
    view = studio.ended(studio.start("dies"))
    assert view["state"] == "failed"
    assert "the sky fell" in view["error"]
    assert not list(studio.settings.paths.models.glob("loras/*"))


def test_a_full_disk_rests_the_run_until_it_is_told_to_go_on(studio):
    run_id = studio.start("full")
    studio.until(run_id, state="paused")
    assert "The disk is full" in studio.trainings.get(run_id, LOCAL_USER)["warnings"][-1]
    studio.order(run_id, "go")
    assert studio.ended(run_id)["state"] == "done"


def test_the_studio_may_end_and_the_run_goes_on_where_it_was(studio):
    run_id, waits = studio.start("slow"), studio.start(name="next")
    studio.until(run_id, state="running")
    studio.order(run_id, "sample")
    studio.until(run_id, step=1)
    studio.trainings.close()
    assert studio.trainings.get(run_id, LOCAL_USER)["state"] == "interrupted"
    studio.trainings = studio.open()
    again = {run["id"]: run for run in studio.trainings.list(LOCAL_USER)}
    assert [(run["state"], run["step"]) for run in again.values()] == [("interrupted", 1), ("queued", 0)]
    studio.trainings.go_on()
    assert studio.ended(waits)["state"] == "done"
    studio.order(run_id, "resume")
    studio.until(run_id, state="running")
    studio.order(run_id, "sample")
    studio.until(run_id, step=2)
    studio.order(run_id, "stop")
    assert studio.ended(run_id)["state"] == "stopped"


def test_a_server_that_was_killed_leaves_interrupted_runs(studio):
    run_id = studio.start()
    studio.ended(run_id)
    studio.trainings.close()
    file = studio.places.runs / run_id / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"state": "running"}))
    (studio.places.runs / "odd").mkdir()
    (studio.places.runs / "odd" / "run.json").write_text("{half")
    with (studio.places.runs / run_id / "log.jsonl").open("a") as log:
        log.write('{"event": "st')
    (view,) = studio.open().list(LOCAL_USER)
    assert (view["state"], view["resumable"]) == ("interrupted", True)
    assert studio.trainings.get(run_id, LOCAL_USER)["log"][-1]["event"] == "done"


def test_a_checkpoint_that_changed_is_not_gone_on_with(studio, monkeypatch):
    run_id = studio.start("slow")
    studio.until(run_id, state="running")
    studio.order(run_id, "stop")
    studio.ended(run_id)
    kept = studio.library.entries
    monkeypatch.setattr(studio.library, "entries", lambda kind=None: [])
    with pytest.raises(ModelNotFoundError, match="is not here any more"):
        studio.order(run_id, "resume")
    monkeypatch.setattr(studio.library, "entries", kept)
    studio.trainings._runs[run_id].params = _other(studio.trainings._runs[run_id].params)
    with pytest.raises(ModelNotFoundError, match="has changed"):
        studio.order(run_id, "resume")


def _other(params):
    from dataclasses import replace

    return replace(params, checkpoint_id="0" * 64)


def test_pictures_that_changed_are_told_when_a_run_goes_on(studio):
    run_id = studio.start("slow")
    studio.until(run_id, state="running")
    studio.order(run_id, "stop")
    studio.ended(run_id)
    studio.ids["mug"] = "other"
    assert "The pictures have changed" in studio.order(run_id, "resume")["warnings"][-1]
    studio.until(run_id, state="running")
    studio.order(run_id, "stop")
    studio.ended(run_id)


def test_any_save_can_be_kept_in_place_of_the_result(studio):
    run_id = studio.start("slow")
    for wanted in ("stop", "stop"):
        studio.until(run_id, state="running")
        studio.order(run_id, "sample")
        studio.order(run_id, wanted)
        studio.ended(run_id)
        if wanted == "stop" and len(studio.trainings.get(run_id, LOCAL_USER)["saves"]) == 1:
            studio.order(run_id, "resume")
    steps = [one["step"] for one in studio.trainings.get(run_id, LOCAL_USER)["saves"]]
    assert len(steps) == 2
    view = studio.trainings.keep(run_id, steps[0], LOCAL_USER)
    assert (view["kept"], [one["name"] for one in view["results"]]) == (steps[0], ["green mug"])
    assert len(list(studio.settings.paths.models.glob("loras/*"))) == 1
    with pytest.raises(MissingError, match="Nothing was saved at step 77"):
        studio.trainings.keep(run_id, 77, LOCAL_USER)
    with pytest.raises(InvalidRequestError):
        studio.trainings.keep(run_id, "1", LOCAL_USER)


def test_a_deleted_run_goes_to_the_trash_and_its_result_stays(studio):
    run_id = studio.start()
    studio.ended(run_id)
    before = studio.trainings.get(run_id, LOCAL_USER)
    undo = studio.trainings.delete(run_id, LOCAL_USER)["undo"]
    assert studio.trainings.list(LOCAL_USER) == []
    assert [one.name.partition("-")[2] for one in studio.places.trash.iterdir()] == [run_id]
    assert (studio.settings.paths.models / "loras" / "green mug.safetensors").is_file()
    with pytest.raises(MissingError):
        studio.trainings.get(run_id, LOCAL_USER)
    assert studio.trainings.restore(undo, LOCAL_USER)["name"] == "green mug"
    assert studio.trainings.get(run_id, LOCAL_USER) == before
    for gone in (undo, "../runs", None):
        with pytest.raises(MissingError, match="not in the trash"):
            studio.trainings.restore(gone, LOCAL_USER)


def test_a_deleted_run_that_waited_waits_again_at_its_old_place(studio):
    first, second = studio.start("slow", name="one"), studio.start(name="two")
    studio.until(first, state="running")
    undo = studio.trainings.delete(second, LOCAL_USER)["undo"]
    third = studio.start(name="three")
    studio.trainings.restore(undo, LOCAL_USER)
    assert [run["id"] for run in studio.trainings.list(LOCAL_USER)] == [first, second, third]
    studio.order(first, "stop")
    assert studio.ended(second)["state"] == studio.ended(third)["state"] == "done"


def test_two_runs_cannot_have_one_name(studio):
    run_id = studio.start("slow")
    with pytest.raises(InvalidRequestError, match="already") as refused:
        studio.start("slow", name="Green Mug")
    assert refused.value.field == "name"
    studio.until(run_id, state="running")
    studio.order(run_id, "stop")
    studio.ended(run_id)
    with pytest.raises(InvalidRequestError, match="There is a model green mug already") as refused:
        studio.start()
    assert "green mug-2" in refused.value.hint
    assert "already" in studio.trainings.advice(studio.body(), LOCAL_USER)["warnings"][-1]


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"dataset": "none"}, "dataset"),
        ({"dataset": "gone"}, "dataset"),
        ({"checkpoint": "gone"}, "checkpoint"),
        ({"settings": {"learning_rate": float("nan")}}, "learning_rate"),
        ({"settings": {"steps": 0}}, "steps"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(studio, more, field):
    with pytest.raises(InvalidRequestError) as refused:
        studio.trainings.start(studio.body(**more), LOCAL_USER)
    assert refused.value.field == field
    assert list(studio.places.runs.iterdir()) == []


def test_files_of_a_run_are_its_pictures_alone(studio):
    run_id = studio.start()
    studio.ended(run_id)
    for name in ("../../studio.db", "run.json", "order.json", "child.log", "samples", "/etc/hostname"):
        with pytest.raises(MissingError):
            studio.trainings.file(run_id, name, LOCAL_USER)


def test_guests_have_no_trainings(studio):
    guest = User("ann", "guest")
    for call in (studio.trainings.list, studio.trainings.methods, lambda user: studio.trainings.advice({}, user)):
        with pytest.raises(ForbiddenError, match="Guests cannot train"):
            call(guest)


def test_a_second_run_is_estimated_by_the_pace_of_the_first(studio):
    body = studio.body(settings={"steps": 20})
    assert studio.trainings.advice(body, LOCAL_USER)["estimate"] is None
    studio.ended(studio.trainings.start(body, LOCAL_USER)["id"])
    told = studio.trainings.advice(studio.body(name="other", settings={"steps": 40}), LOCAL_USER)["estimate"]
    assert told["seconds"] == pytest.approx(4.0)  # 0.1 each
    run = next(iter(studio.trainings._runs.values()))
    run.pace = {"costs": {"measure": 3.0, "sample": 2.0}, "spent": {}, "before": 20.0}
    settings = {"steps": 40, "measure_every": 10, "sample_every": 20}
    told = studio.trainings.advice(studio.body(name="other", settings=settings), LOCAL_USER)["estimate"]
    assert told["seconds"] == pytest.approx(20 + 4 + 5 * 3 + 2 * 2)
    assert "3 for scores" in told["text"]


def test_studios_share_nothing(tmp_path, studio):
    assert Studio(tmp_path / "other").trainings.list(LOCAL_USER) == []
