"""A worker process with our end of its pipe. It is spawned, so that it shares nothing with the web process."""

import logging
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection

from studio.messages import Logged, Shutdown

log = logging.getLogger("studio.jobs")
STOP_SECONDS = 2.0  # a job that runs is put back, so a worker has nothing to save


class WorkerHandle:
    """One process, from its start to its end. `start_worker`, a top-level function, takes its end of the pipe."""

    def __init__(self, start_worker: Callable[[Connection], None]) -> None:
        """Start the process. Raises: OSError, if the system gives none."""
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=start_worker, args=(theirs,), name="studio-worker", daemon=True)
        try:
            self._process.start()
        except OSError:
            self.connection.close()
            raise
        finally:
            theirs.close()

    @property
    def pid(self) -> int | None:
        """The process id."""
        return self._process.pid

    @property
    def sentinel(self) -> int:
        """Becomes ready for multiprocessing's `wait` when the process has ended."""
        return self._process.sentinel

    def send(self, message: object) -> None:
        """Send; to a process that is gone nothing is delivered, which its sentinel tells too."""
        try:
            self.connection.send(message)
        except OSError:
            log.warning("the worker is gone; %s was not delivered", type(message).__name__)

    def receive(self) -> object | None:
        """The next message; None for a line that went to the log. Raises: EOFError and OSError, if it is gone."""
        message = self.connection.recv()
        if not isinstance(message, Logged):
            return message
        logging.getLogger(message.logger).log(message.level, "%s", message.text)
        return None

    def bury(self) -> int | None:
        """Clear up after a process that ended or closed its pipe; its exit status."""
        self.connection.close()
        self._process.join(STOP_SECONDS)
        self._process.kill()
        self._process.join(STOP_SECONDS)
        return self._process.exitcode

    def end(self) -> None:
        """Ask the process to end, and see to it."""
        self.send(Shutdown())
        self.bury()
