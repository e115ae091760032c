"""The device goes from the worker to whoever borrows it, and back."""

import threading

import pytest

from studio.jobs.lease import Lease
from studio.messages import Free, Resident
from tests.jobs.test_worker import PATIENCE, Setup

EMPTY, FULL = Resident((), {}), Resident(({"name": "desk"},), {})


class Side:
    """A dispatcher's side by hand, and what was granted."""

    def __init__(self):
        self.lease, self.sent, self.waiting = Lease(), [], 0
        self.granted, self.looks, self.told = [], [], []
        self.lease.pictures_wait = lambda: self.told.append(self.waiting)
        self.lease.serve(lambda: self.looks.append(1))

    def ask(self, **options):
        self.lease.ask("Training “mug”.", lambda: self.granted.append(1), **({"patient": False} | options))

    def look(self):
        return self.lease.keeps_back(lambda: self.waiting, self.sent.append)


def test_jobs_run_while_nobody_asks():
    side = Side()
    assert not side.look()
    assert (side.lease.reason, side.sent) == ("", [])


def test_the_device_goes_over_when_the_models_are_unloaded_and_comes_back():
    side = Side()
    side.ask()
    assert side.looks == [1]
    assert side.look()
    assert side.look()
    assert len(side.sent) == 1
    assert isinstance(side.sent[0], Free)
    side.lease.heard(FULL)
    assert side.granted == []
    side.lease.heard(EMPTY)
    side.lease.heard(EMPTY)
    assert side.granted == [1]
    assert side.lease.reason == "Training “mug”."
    side.lease.give_back()
    assert side.looks == [1, 1]
    assert (side.look(), side.lease.reason) == (False, "")


def test_who_is_patient_lets_pictures_go_first():
    side = Side()
    side.waiting = 1
    side.ask(patient=True)
    assert not side.look()
    side.waiting = 0
    assert side.look()
    side.lease.heard(EMPTY)
    assert side.granted == [1]


def test_whoever_borrowed_is_told_that_pictures_wait():
    side = Side()
    side.ask()
    side.look()
    side.waiting = 2
    side.look()
    assert side.told == []
    side.lease.heard(EMPTY)
    side.look()
    assert side.told == [2]


def test_another_worker_unloads_again_and_none_at_all_lends_at_once():
    side = Side()
    side.ask()
    side.look()
    side.lease.worker_gone()
    assert side.granted == []
    side.look()
    assert len(side.sent) == 2
    side.lease.serve(None)
    assert side.granted == [1]
    side.lease.give_back()
    side.ask()
    assert side.granted == [1, 1]


@pytest.fixture
def setup(tmp_path):
    made = Setup(tmp_path)
    made.dispatcher.start()
    yield made
    made.dispatcher.stop()


def test_a_real_worker_waits_and_goes_on(setup):
    lease, granted, told = setup.dispatcher.wiring.lease, threading.Event(), threading.Event()
    lease.pictures_wait = told.set
    lease.ask("Training.", granted.set, patient=True)
    assert granted.wait(PATIENCE)
    job = setup.submit("a house")
    assert told.wait(PATIENCE)
    setup.dispatcher.announce_queue()
    assert setup.hub.heard[-1] == {"type": "queue", "waiting": 1, "waits_for": "Training."}
    assert setup.queue.required(job).state == "queued"
    lease.give_back()
    assert setup.ended(job).state == "done"
