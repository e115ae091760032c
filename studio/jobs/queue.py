"""The queue: jobs as rows, so that nothing that was asked for is lost when a process ends."""

import json
import sqlite3
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from studio.database import Database
from studio.errors import JobError, MissingError

STATES = ("queued", "running", "done", "failed", "cancelled")
AGAIN = "Started again after the studio stopped."
ATTEMPTS = 2


@dataclass(frozen=True, kw_only=True)
class Job:
    """One job. state is one of STATES; results are gallery ids; times in seconds since 1970, None before they come."""

    id: str
    owner: str
    kind: str
    state: str
    params: dict[str, Any]
    position: float
    attempts: int
    note: str
    error: str
    hint: str
    created: float
    results: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    started: float | None = None
    finished: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**vars(self), "results": list(self.results), "warnings": list(self.warnings)}


class JobQueue:
    """All jobs of a studio. Every call is one transaction and may come from any thread."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def submit(
        self, params: Mapping[str, Any], owner: str, *, kind: str = "generate", warnings: Sequence[str] = ()
    ) -> Job:
        """Put a job at the end of the queue."""
        job_id = uuid.uuid4().hex
        with self.database.write() as tx:
            last = tx.execute("SELECT max(position) FROM jobs").fetchone()[0] or 0.0
            tx.execute(
                "INSERT INTO jobs (id, owner, kind, state, params, position, warnings, created)"
                " VALUES (?, ?, ?, 'queued', ?, ?, ?, ?)",
                (job_id, owner, kind, json.dumps(params), last + 1, json.dumps(list(warnings)), time.time()),
            )
        return self.required(job_id)

    def get(self, job_id: str) -> Job | None:
        """The job, or None."""
        with self.database.read() as tx:
            row = tx.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
        return None if row is None else _job(row)

    def required(self, job_id: str) -> Job:
        """The job. Raises: MissingError, if there is none."""
        job = self.get(job_id)
        if job is None:
            raise MissingError(f"There is no job {job_id[:40]}.")
        return job

    def list(
        self,
        owner: str | None = None,
        states: Sequence[str] | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> list[Job]:
        """Jobs, newest first: of one owner, in some states, and older than the job `before`, where given."""
        where, values = ["1"], list[object]()
        if owner is not None:
            where.append("owner = ?")
            values.append(owner)
        if states:
            where.append(f"state IN ({', '.join('?' * len(states))})")
            values.extend(states)
        if before is not None:
            where.append("rowid < (SELECT rowid FROM jobs WHERE id = ?)")
            values.append(before)
        sql = f"SELECT * FROM jobs WHERE {' AND '.join(where)} ORDER BY rowid DESC LIMIT ?"
        with self.database.read() as tx:
            return [_job(row) for row in tx.execute(sql, (*values, min(max(limit, 1), 500)))]

    def waiting(self) -> Sequence[Job]:
        """The queued jobs in the order in which they will run."""
        with self.database.read() as tx:
            rows = tx.execute("SELECT * FROM jobs WHERE state = 'queued' ORDER BY position LIMIT 1000").fetchall()
        return [_job(row) for row in rows]

    def count_waiting(self) -> int:
        """How many jobs are queued."""
        with self.database.read() as tx:
            return int(tx.execute("SELECT count(*) FROM jobs WHERE state = 'queued'").fetchone()[0])

    def claim(self) -> Job | None:
        """Take the next queued job to run it; two callers never get the same one."""
        if not self.count_waiting():
            return None
        with self.database.write() as tx:
            row = tx.execute("SELECT id FROM jobs WHERE state = 'queued' ORDER BY position LIMIT 1").fetchone()
            if row is None:
                return None
            tx.execute(
                "UPDATE jobs SET state = 'running', attempts = attempts + 1, started = ? WHERE id = ?",
                (time.time(), row["id"]),
            )
        return self.get(row["id"])

    def move(self, job_id: str, before: str | None) -> None:
        """Put a queued job before another queued one, or last. Raises: JobError, if either does not wait."""
        with self.database.write() as tx:
            rows = tx.execute("SELECT id FROM jobs WHERE state = 'queued' ORDER BY position").fetchall()
            order = [row["id"] for row in rows]
            if missing := [name for name in (job_id, before) if name is not None and name not in order]:
                raise JobError(f"The job {missing[0][:40]} does not wait any more.")
            order.remove(job_id)
            order.insert(len(order) if before is None or before == job_id else order.index(before), job_id)
            positions = sorted(r["position"] for r in tx.execute("SELECT position FROM jobs WHERE state = 'queued'"))
            tx.executemany("UPDATE jobs SET position = ? WHERE id = ?", zip(positions, order, strict=True))

    def cancel_queued(self, job_id: str) -> bool:
        """Cancel a job that still waits; whether it did."""
        return self._end(job_id, "cancelled", only="queued")

    def finish(
        self, job_id: str, results: Sequence[int], warnings: Sequence[str], seconds: Mapping[str, float]
    ) -> None:
        """Mark a running job as done, with its pictures."""
        said = {"results": list(results), "warnings": list(warnings), "seconds": dict(seconds)}
        self._end(job_id, "done", only="running", **{name: json.dumps(value) for name, value in said.items()})

    def fail(self, job_id: str, message: str, hint: str) -> None:
        """Mark a running job as failed, with what happened and what to do."""
        self._end(job_id, "failed", only="running", error=message, hint=hint)

    def set_cancelled(self, job_id: str) -> None:
        """Mark a running job as cancelled."""
        self._end(job_id, "cancelled", only="running")

    def requeue(self, job_id: str, note: str) -> bool:
        """Put a running job back where it was in the queue, marked; False when it has had its attempts."""
        with self.database.write() as tx:
            done = tx.execute(
                "UPDATE jobs SET state = 'queued', note = ?, started = NULL"
                " WHERE id = ? AND state = 'running' AND attempts < ?",
                (note, job_id, ATTEMPTS),
            )
            return done.rowcount == 1

    def put_back(self, job_id: str) -> None:
        """Put a running job back as if it had not begun: the studio is told to stop, which is no fault of the job."""
        with self.database.write() as tx:
            tx.execute(
                "UPDATE jobs SET state = 'queued', attempts = attempts - 1, started = NULL"
                " WHERE id = ? AND state = 'running'",
                (job_id,),
            )

    def retry(self, job_id: str) -> Job:
        """Queue a failed or cancelled job again, as a fresh one at the end. Raises: JobError, for any other state."""
        job = self.required(job_id)
        with self.database.write() as tx:
            last = tx.execute("SELECT max(position) FROM jobs").fetchone()[0]
            done = tx.execute(
                "UPDATE jobs SET state = 'queued', attempts = 0, error = '', hint = '', note = '', position = ?,"
                " started = NULL, finished = NULL WHERE id = ? AND state IN ('failed', 'cancelled')",
                (last + 1, job_id),
            )
        if done.rowcount != 1:
            raise JobError(f"Only a failed or cancelled job can be tried again; this one is {job.state}.")
        return self.required(job_id)

    def recover(self) -> Sequence[Job]:
        """After a start: jobs that were running are queued again once, marked; those that had their chance fail."""
        interrupted = self.list(states=("running",), limit=500)
        for job in interrupted:
            if not self.requeue(job.id, AGAIN):
                self.fail(job.id, "The studio stopped twice while this job ran.", "Try it again, or make it smaller.")
        return [self.required(job.id) for job in interrupted]

    def _end(self, job_id: str, state: str, *, only: str, **columns: str) -> bool:
        """End a job that is in the state `only`, and set these columns with it; whether it was."""
        names = "".join(f", {name} = ?" for name in columns)
        with self.database.write() as tx:
            done = tx.execute(
                f"UPDATE jobs SET state = ?, finished = ?{names} WHERE id = ? AND state = ?",
                (state, time.time(), *columns.values(), job_id, only),
            )
            return done.rowcount == 1


def _job(row: sqlite3.Row) -> Job:
    values: dict[str, Any] = dict(row)
    values |= {name: json.loads(row[name]) for name in ("params", "seconds")}
    values |= {name: tuple(json.loads(row[name])) for name in ("results", "warnings")}
    return Job(**values)
