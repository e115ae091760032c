"""The dispatcher with a real process behind the seam."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from studio.database import open_studio_database
from studio.errors import InvalidRequestError, StorageError, WorkerError
from studio.jobs import worker
from studio.jobs.events import Events
from studio.jobs.queue import JobQueue
from studio.jobs.worker import AGAIN, Dispatcher, Wiring
from studio.messages import Annotate, Hello, Identified, ModelLocation, Prefetch
from tests import params_only
from tests.jobs import fake_worker

PATIENCE = 60
ENDS = ("done", "failed", "cancelled")
DESK = ModelLocation("desk", "id", "path", "checkpoint", "tiny")


class Hub(Events):
    """Events that can be waited for."""

    def __init__(self):
        super().__init__()
        self.heard = []
        self.news = threading.Condition()

    def publish(self, event, owner=None):
        super().publish(event, owner)
        with self.news:
            self.heard.append(event)
            self.news.notify_all()

    def wait_for(self, found):
        with self.news:
            assert self.news.wait_for(lambda: any(found(event) for event in self.heard), PATIENCE), self.heard


class Setup:
    def __init__(self, tmp_path, start_worker=fake_worker.serve, save=None):
        self.queue = JobQueue(open_studio_database(tmp_path / "studio.db")[0])
        self.hub = Hub()
        self.saved = []
        wiring = Wiring(
            start_worker=start_worker,
            hello=Hello(assets=str(tmp_path)),
            locate=lambda _params: {},
            save=save or self.save,
            identified=self.identified,
            view=lambda job: job.to_dict(),
        )
        self.dispatcher = Dispatcher(self.queue, self.hub, wiring)

    def save(self, job, result):
        self.saved.append((job.id, result))
        return (len(self.saved),)

    def identified(self, said):
        self.described = said
        return "key" if said.mark == "here" else ""

    def submit(self, prompt, owner="ann"):
        job = self.queue.submit(params_only.params(prompt=prompt).to_dict(), owner)
        self.dispatcher.wake()
        return job.id

    def ready(self):
        self.hub.wait_for(lambda e: e["type"] == "worker" and e["state"] == "ready")

    def ended(self, job_id):
        self.hub.wait_for(lambda e: e["type"] == "job" and e["job"]["id"] == job_id and e["job"]["state"] in ENDS)
        return self.queue.get(job_id)

    def running(self, job_id):
        self.hub.wait_for(lambda e: e["type"] == "preview" and e["job_id"] == job_id)


@pytest.fixture
def setup(tmp_path):
    made = []

    def make(**how):
        setup = Setup(tmp_path, **how)
        made.append(setup)
        setup.dispatcher.start()
        return setup

    yield make
    for setup in made:
        setup.dispatcher.stop()
        assert setup.dispatcher.worker_status()["state"] in ("off", "failed")


def test_a_job_goes_from_the_queue_to_its_result(setup):
    studio = setup()
    job = studio.ended(studio.submit("a cat"))
    assert (job.state, job.results, job.seconds) == ("done", (1,), {"denoise": 0.1})
    assert job.warnings == ("Said on the way.",)
    kinds = [e["type"] for e in studio.hub.heard if e.get("job_id") == job.id]
    assert kinds == ["progress", "preview"]
    preview = next(e for e in studio.hub.heard if e["type"] == "preview")
    assert preview["url"].startswith("data:image/jpeg;base64,")


def test_jobs_run_one_after_another_in_order(setup):
    studio = setup()
    ids = [studio.submit(name) for name in ("a", "b", "c")]
    for job_id in ids:
        assert studio.ended(job_id).state == "done"
    assert [job_id for job_id, _ in studio.saved] == ids


def test_a_job_whose_worker_dies_is_done_after_the_restart_and_marked(setup, tmp_path):
    studio = setup()
    job = studio.ended(studio.submit(f"dies once {tmp_path / 'marker'}"))
    assert (job.state, job.note, job.attempts) == ("done", AGAIN, 2)


def test_a_job_that_kills_its_worker_twice_fails_and_the_next_one_runs(setup):
    studio = setup()
    deadly, harmless = studio.submit("dies"), studio.submit("a cat")
    job = studio.ended(deadly)
    assert job.state == "failed"
    assert "ended twice" in job.error
    assert studio.ended(harmless).state == "done"


def test_kill_9_of_the_worker_loses_nothing(setup):
    studio = setup()
    slow, waiting = studio.submit("slow"), studio.submit("a cat")
    studio.running(slow)
    os.kill(studio.dispatcher.worker_pid(), signal.SIGKILL)
    studio.hub.wait_for(lambda e: e["type"] == "job" and e["job"]["note"] == AGAIN and e["job"]["state"] == "running")
    studio.dispatcher.cancel(slow)
    assert studio.ended(slow).state == "cancelled"
    assert studio.ended(waiting).state == "done"


def test_cancelling_a_waiting_job_is_immediate_and_of_a_running_one_soon(setup):
    studio = setup()
    slow, waiting = studio.submit("slow"), studio.submit("a cat")
    studio.running(slow)
    studio.dispatcher.cancel(waiting)
    assert studio.queue.get(waiting).state == "cancelled"
    studio.dispatcher.cancel(slow)
    assert studio.ended(slow).state == "cancelled"


def test_what_failed_says_why_and_what_to_do(setup):
    studio = setup()
    job = studio.ended(studio.submit("fails"))
    assert (job.state, job.error, job.hint) == ("failed", "There is no paint.", "Buy paint.")


def test_pictures_that_cannot_be_saved_fail_the_job_and_it_can_be_tried_again(setup):
    def full(_job, _result):
        raise StorageError("The disk is full.")

    studio = setup(save=full)
    job = studio.ended(studio.submit("a cat"))
    assert (job.state, job.error) == ("failed", "The disk is full.")
    assert studio.queue.retry(job.id).state == "queued"


def test_params_that_cannot_be_read_fail_the_job_and_not_the_dispatcher(setup):
    studio = setup()
    bad = studio.queue.submit({"version": 99}, "ann").id
    studio.dispatcher.wake()
    assert "version 99" in studio.ended(bad).error
    assert studio.ended(studio.submit("a cat")).state == "done"


def test_a_worker_that_cannot_start_is_given_up_and_jobs_stay(setup):
    studio = setup(start_worker=fake_worker.refuse)
    job_id = studio.submit("a cat")
    studio.hub.wait_for(lambda e: e["type"] == "worker" and e["state"] == "failed")
    status = studio.dispatcher.worker_status()
    assert "cannot start (status 3)" in status["reason"]
    assert studio.queue.get(job_id).state == "queued"


def test_why_a_worker_cannot_start_stands_in_the_log(setup, caplog):
    studio = setup(start_worker=fake_worker.fall)
    studio.hub.wait_for(lambda e: e["type"] == "worker" and e["state"] == "failed")
    assert "ImportError: No module named 'paint'" in caplog.text


def test_what_is_told_late_is_how_the_job_stands_by_then(setup):
    studio = setup()
    job_id = studio.submit("a cat")
    before = studio.queue.get(job_id)
    studio.ended(job_id)
    studio.dispatcher.announce(before)
    told = [event["job"]["state"] for event in studio.hub.heard if event["type"] == "job"]
    assert before.state != "done" == told[-1]


def test_models_are_warmed_up_and_freed_when_asked(setup):
    studio = setup()
    studio.ready()
    studio.dispatcher.prefetch(Prefetch(DESK))
    assert studio.dispatcher.residency(PATIENCE).models == ({"name": "desk"},)
    assert studio.dispatcher.free(PATIENCE).models == ()


def test_warming_up_is_dropped_for_a_job(setup):
    studio = setup()
    studio.ready()
    slow = studio.submit("slow")
    studio.running(slow)
    assert studio.dispatcher.residency(PATIENCE) is None  # at once: a busy worker is not asked
    job = studio.submit("a cat")
    studio.dispatcher.prefetch(Prefetch(DESK))
    studio.dispatcher.cancel(slow)
    assert studio.ended(job).state == "done"
    assert studio.dispatcher.residency(PATIENCE).models == ()


def test_a_cancelled_job_whose_worker_dies_is_not_started_again(setup):
    studio = setup()
    job_id = studio.submit("deaf")
    studio.running(job_id)
    studio.dispatcher.cancel(job_id)
    studio.hub.wait_for(lambda e: e["type"] == "preview" and e["step"] == 2)  # it heard, and goes on
    os.kill(studio.dispatcher.worker_pid(), signal.SIGKILL)
    assert studio.ended(job_id).state == "cancelled"
    assert studio.ended(studio.submit("a cat")).state == "done"


def test_a_worker_that_could_not_start_is_tried_again_when_a_job_comes(setup, tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "BACK_OFF", 0.01)
    monkeypatch.setenv("FAKE_WORKER_NEEDS", str(tmp_path / "driver"))
    studio = setup()
    first = studio.submit("a cat")
    studio.hub.wait_for(lambda e: e["type"] == "worker" and e["state"] == "failed")
    (tmp_path / "driver").touch()
    second = studio.submit("a dog")
    assert [studio.ended(job_id).state for job_id in (first, second)] == ["done", "done"]


def test_a_bug_while_saving_fails_that_job_and_the_queue_goes_on(setup, monkeypatch, caplog):
    monkeypatch.setattr(worker, "BACK_OFF", 0.01)
    calls = []

    def save(job, result):
        calls.append(job.id)
        if len(calls) == 1:
            raise ZeroDivisionError
        return (7,)

    studio = setup(save=save)
    first, second = studio.submit("a cat"), studio.submit("a dog")
    assert studio.ended(first).state == "failed"
    assert "did not expect" in studio.queue.get(first).error
    assert studio.ended(second).results == (7,)
    assert "ZeroDivisionError" in caplog.text


def test_an_ending_that_a_full_disk_refuses_is_written_when_there_is_room(setup, monkeypatch):
    monkeypatch.setattr(worker, "BACK_OFF", 0.01)
    studio = setup()
    finish, refusals = studio.queue.finish, iter(range(3))

    def full(*args):
        for _ in refusals:
            raise StorageError("The disk is full.")
        finish(*args)

    monkeypatch.setattr(studio.queue, "finish", full)
    job = studio.ended(studio.submit("a cat"))
    assert (job.state, len(studio.saved)) == ("done", 1)
    warnings = [e for e in studio.hub.heard if e["type"] == "warning"]
    assert len(warnings) == 1  # said once, not at each try


def test_a_studio_told_to_stop_puts_its_job_back_unmarked(setup):
    studio = setup()
    job_id = studio.submit("slow")
    studio.running(job_id)
    studio.dispatcher.stop()
    job = studio.queue.get(job_id)
    assert (job.state, job.attempts, job.note) == ("queued", 0, "")


def test_the_worker_ends_when_the_server_is_killed(tmp_path):
    command = [sys.executable, "-m", "tests.jobs.server", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout.readline() == "running\n"
        server.kill()
        assert server.stdout.read() == ""  # the worker held this pipe too; it ends with its last holder
    queue = JobQueue(open_studio_database(tmp_path / "studio.db")[0])
    (job,) = queue.recover()
    assert (job.state, job.note) == ("queued", "Started again after the studio stopped.")


def test_an_interrupted_job_runs_at_the_next_start(tmp_path):
    first = Setup(tmp_path)
    job_id = first.submit("a cat")
    first.queue.claim()
    second = Setup(tmp_path)
    second.dispatcher.start()
    try:
        job = second.ended(job_id)
        assert (job.state, job.attempts) == ("done", 2)
    finally:
        second.dispatcher.stop()


def test_what_the_worker_says_of_a_file_is_kept_and_then_told_if_it_is_news(setup):
    studio = setup()
    studio.ready()
    studio.dispatcher.identify("a.pth", "gone")
    studio.dispatcher.identify("a.pth", "here")
    studio.hub.wait_for(lambda event: event["type"] == "model")
    assert studio.described == Identified("a.pth", "here", True, "ESRGAN", 4, (3, 3))
    assert [event for event in studio.hub.heard if event["type"] == "model"] == [{"type": "model", "key": "key"}]


def test_without_a_worker_a_question_about_a_file_is_dropped(setup):
    studio = setup(start_worker=fake_worker.refuse)
    studio.dispatcher.identify("a.pth", "here")
    studio.hub.wait_for(lambda event: event["type"] == "worker" and event["state"] == "failed")
    assert not [event for event in studio.hub.heard if event["type"] == "model"]


def test_a_map_is_asked_for_while_the_worker_starts_and_waited_for(setup):
    made = setup().dispatcher.annotate(Annotate("1", "a" * 64, "canny"), "ann")
    assert (made.id, made.rgb) == ("1", bytes(3))


def test_an_annotator_that_refuses_is_quoted(setup):
    with pytest.raises(InvalidRequestError, match="no ink"):
        setup().dispatcher.annotate(Annotate("1", "a" * 64, "fails"), "ann")


def test_a_worker_that_ends_over_a_map_is_started_again(setup):
    studio = setup()
    with pytest.raises(WorkerError, match="ended before it could answer"):
        studio.dispatcher.annotate(Annotate("1", "a" * 64, "dies"), "ann")
    assert studio.dispatcher.annotate(Annotate("2", "a" * 64, "canny"), "ann").id == "2"


def test_without_a_worker_there_is_no_map(setup):
    studio = setup(start_worker=fake_worker.refuse)
    studio.hub.wait_for(lambda event: event["type"] == "worker" and event["state"] == "failed")
    with pytest.raises(WorkerError, match="cannot start"):
        studio.dispatcher.annotate(Annotate("1", "a" * 64, "canny"), "ann")
    studio.dispatcher.stop()
    with pytest.raises(WorkerError):
        studio.dispatcher.annotate(Annotate("1", "a" * 64, "canny"), "ann")


def test_stopping_the_studio_ends_the_wait_for_a_map(setup):
    studio = setup()
    studio.ready()
    threading.Timer(0.3, studio.dispatcher.stop).start()
    with pytest.raises(WorkerError, match="ended before it could answer"):
        studio.dispatcher.annotate(Annotate("1", "a" * 64, "silent"), "ann")
