"""What the worker has to say for logs/studio.log goes over the pipe: the file belongs to the web process alone."""

import logging
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection

from studio.messages import Logged


class Lines(logging.Handler):
    """Sends what is logged below `studio`, from INFO on; traceback included."""

    def __init__(self, say: Callable[[object], None]) -> None:
        super().__init__(logging.INFO)
        self.say = say

    def emit(self, record: logging.LogRecord) -> None:
        """Send one."""
        self.say(Logged(record.levelno, record.name, self.format(record)))


def relay(say: Callable[[object], None]) -> None:
    """From now on what this process logs is sent."""
    log = logging.getLogger("studio")
    log.setLevel(logging.INFO)
    log.addHandler(Lines(say))


@contextmanager
def last_words(connection: Connection) -> Generator[None]:
    """What ends the process in the block is told before, with its traceback."""
    try:
        yield
    except Exception:
        with suppress(OSError):
            connection.send(Logged(logging.ERROR, "studio.worker", f"the worker ends:\n{traceback.format_exc()}"))
        raise
