"""Who waits for which control map: answers find the thread that asked, and of one page the last question counts."""

import logging
import queue
import threading
from dataclasses import dataclass, field

from studio.errors import InvalidRequestError, JobError, WorkerError
from studio.messages import Annotate, Annotated

log = logging.getLogger("studio.jobs")
WAITING_MAX = 4  # of one person at once
PATIENCE = 120.0  # seconds
Answer = Annotated | JobError | WorkerError


@dataclass
class Asked:
    """A question under way."""

    question: Annotate
    owner: str
    answer: "queue.SimpleQueue[Answer]" = field(default_factory=queue.SimpleQueue[Answer])


class Maps:
    """The questions under way. Every call may come from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: dict[str, Asked] = {}

    def ask(self, question: Annotate, owner: str) -> Asked:
        """Note a question; an earlier one of the same page is answered that nobody wants it any more.

        Raises: JobError, if too many of the owner's are under way.
        """
        with self._lock:
            mine = [asked for asked in self._asked.values() if asked.owner == owner]
            stale = [asked for asked in mine if question.page and asked.question.page == question.page]
            if len(mine) - len(stale) >= WAITING_MAX:
                raise JobError(f"{WAITING_MAX} of your maps are being made already.", hint="Wait until one is done.")
            for asked in stale:
                del self._asked[asked.question.id]
                asked.answer.put(JobError("A newer map was asked for.", hint="Its answer is the one to show."))
            asked = self._asked[question.id] = Asked(question, owner)
            return asked

    def wait(self, asked: Asked, seconds: float = PATIENCE) -> Annotated:
        """The map. Raises: InvalidRequestError with the annotator's words; JobError, if a newer one was asked for;
        WorkerError, if the annotator has a bug, the worker ends, or it says nothing for so long.
        """
        try:
            said = asked.answer.get(timeout=seconds)
        except queue.Empty:
            raise WorkerError(f"There was no map after {seconds:g} seconds.", hint="Try a smaller picture.") from None
        finally:
            with self._lock:
                self._asked.pop(asked.question.id, None)
        if isinstance(said, JobError | WorkerError):
            raise said
        if said.detail:
            log.error("%s\n%s", said.message, said.detail)
            raise WorkerError(said.message, hint=said.hint)
        if said.message:
            raise InvalidRequestError(said.message, field="annotator", hint=said.hint)
        return said

    def heard(self, said: Annotated) -> None:
        """Give an answer to who asked; nobody may want it any more."""
        with self._lock:
            asked = self._asked.get(said.id)
        if asked is not None:
            asked.answer.put(said)

    def give_up(self, why: str) -> None:
        """Tell everybody who waits that there will be no answer."""
        with self._lock:
            waiting = list(self._asked.values())
        for asked in waiting:
            asked.answer.put(WorkerError(why, hint="Try it again."))
