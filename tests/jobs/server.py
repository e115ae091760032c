"""A studio without a page, to be killed: runs a slow job in a worker and says so."""

import sys
import threading
from pathlib import Path

from studio.database import open_studio_database
from studio.jobs.events import Events
from studio.jobs.queue import JobQueue
from studio.jobs.worker import Dispatcher, Wiring
from studio.messages import Hello
from tests import params_only
from tests.jobs import fake_worker


class Printer(Events):
    """Speaks when the job shows its first preview."""

    def publish(self, event, owner=None):
        if event["type"] == "preview":
            sys.stdout.write("running\n")
            sys.stdout.flush()


if __name__ == "__main__":
    jobs = JobQueue(open_studio_database(Path(sys.argv[1]) / "studio.db")[0])
    jobs.submit(params_only.params(prompt="slow").to_dict(), "ann")
    wiring = Wiring(
        start_worker=fake_worker.serve,
        hello=Hello(assets=sys.argv[1]),
        locate=lambda _params: {},
        save=lambda _job, _result: (),
        view=lambda job: job.to_dict(),
    )
    dispatcher = Dispatcher(jobs, Printer(), wiring)
    dispatcher.start()
    threading.Event().wait()
