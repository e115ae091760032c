import threading

import pytest

from studio.database import open_studio_database
from studio.errors import JobError, MissingError
from studio.jobs.queue import AGAIN, JobQueue


@pytest.fixture
def queue(tmp_path):
    return JobQueue(open_studio_database(tmp_path / "studio.db")[0])


def submit(queue, *names, owner="ann"):
    return [queue.submit({"prompt": name}, owner).id for name in names]


def order(queue):
    return [job.params["prompt"] for job in queue.waiting()]


def test_jobs_run_in_the_order_in_which_they_came(queue):
    submit(queue, "a", "b", "c")
    assert [queue.claim().params["prompt"] for _ in range(3)] == ["a", "b", "c"]
    assert queue.claim() is None


def test_a_job_can_be_moved_before_another_or_to_the_end(queue):
    a, b, c = submit(queue, "a", "b", "c")
    queue.move(c, a)
    assert order(queue) == ["c", "a", "b"]
    queue.move(c, None)
    assert order(queue) == ["a", "b", "c"]
    queue.move(b, b)
    assert sorted(order(queue)) == ["a", "b", "c"]


def test_a_job_that_runs_cannot_be_moved(queue):
    a, b = submit(queue, "a", "b")
    queue.claim()
    with pytest.raises(JobError, match="does not wait"):
        queue.move(a, b)
    with pytest.raises(JobError, match="does not wait"):
        queue.move(b, a)


def test_what_waits_survives_reopening_the_file(queue, tmp_path):
    submit(queue, "a", "b")
    again = JobQueue(open_studio_database(tmp_path / "studio.db")[0])
    assert order(again) == ["a", "b"]


def test_an_interrupted_job_is_queued_again_once_and_marked_then_it_fails(queue):
    (job_id,) = submit(queue, "a")
    queue.claim()
    (job,) = queue.recover()
    assert (job.state, job.note) == ("queued", AGAIN)
    queue.claim()
    (job,) = queue.recover()
    assert job.state == "failed"
    assert "twice" in job.error
    assert job.hint
    assert queue.retry(job_id).state == "queued"
    assert queue.claim().attempts == 1


def test_an_interrupted_job_keeps_its_place(queue):
    submit(queue, "a", "b")
    queue.claim()
    queue.recover()
    assert order(queue) == ["a", "b"]


def test_only_what_waits_is_cancelled_at_once(queue):
    a, b = submit(queue, "a", "b")
    assert queue.cancel_queued(b)
    queue.claim()
    assert not queue.cancel_queued(a)
    assert queue.get(b).state == "cancelled"
    assert queue.get(b).finished is not None


def test_only_failed_and_cancelled_jobs_can_be_tried_again(queue):
    (a,) = submit(queue, "a")
    with pytest.raises(JobError, match="queued"):
        queue.retry(a)
    queue.claim()
    queue.fail(a, "No.", "Try.")
    assert (queue.get(a).error, queue.get(a).hint) == ("No.", "Try.")
    assert queue.retry(a).error == ""


def test_a_finished_job_keeps_its_pictures_warnings_and_times(queue):
    (a,) = submit(queue, "a")
    queue.claim()
    queue.finish(a, [4, 5], ["Rounded."], {"denoise": 1.5})
    job = queue.get(a)
    assert (job.state, job.results, job.warnings, job.seconds) == ("done", (4, 5), ("Rounded.",), {"denoise": 1.5})
    assert job.to_dict()["results"] == [4, 5]


def test_each_sees_their_own(queue):
    submit(queue, "a", owner="ann")
    submit(queue, "b", owner="bob")
    assert [job.owner for job in queue.list("bob")] == ["bob"]
    assert len(queue.list()) == 2
    assert [job.params["prompt"] for job in queue.list(states=("queued",), limit=1)] == ["b"]


def test_two_threads_never_claim_the_same_job(queue):
    submit(queue, *map(str, range(20)))
    claimed: list[str] = []

    def claim():
        while (job := queue.claim()) is not None:
            claimed.append(job.id)

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == len(set(claimed)) == 20


def test_a_job_that_is_not_there_is_named(queue):
    with pytest.raises(MissingError, match="no job nothing"):
        queue.required("nothing")


def test_pages_follow_each_other_and_hold_every_job_once(queue):
    ids = submit(queue, *map(str, range(25)))
    pages, before = [], None
    while page := queue.list("ann", limit=10, before=before):
        pages.append([job.id for job in page])
        before = page[-1].id
    assert [len(page) for page in pages] == [10, 10, 5]
    assert [job_id for page in pages for job_id in page] == ids[::-1]


@pytest.mark.parametrize(
    "ask",
    ["WHERE 1", "WHERE owner = 'ann'", "WHERE state = 'done'", "WHERE owner = 'ann' AND state IN ('done', 'failed')"],
)
def test_a_page_of_many_jobs_is_read_through_an_index_and_not_sorted(queue, ask):
    sql = f"SELECT * FROM jobs {ask} AND rowid < 50 ORDER BY rowid DESC LIMIT 10"
    with queue.database.read() as tx:
        plan = " ".join(row["detail"] for row in tx.execute(f"EXPLAIN QUERY PLAN {sql}"))
    assert "TEMP B-TREE" not in plan


def test_a_job_put_back_by_a_stop_has_lost_no_attempt(queue):
    (job_id,) = submit(queue, "a")
    for _ in range(5):
        assert queue.claim().attempts == 1
        queue.put_back(job_id)
    assert queue.get(job_id).state == "queued"


def test_what_ended_once_stays_as_it_ended(queue):
    (job_id,) = submit(queue, "a")
    queue.claim()
    queue.finish(job_id, [1], [], {})
    queue.fail(job_id, "Too late.", "")
    queue.set_cancelled(job_id)
    assert not queue.requeue(job_id, "Again.")
    job = queue.get(job_id)
    assert (job.state, job.error, job.note, job.results) == ("done", "", "", (1,))
