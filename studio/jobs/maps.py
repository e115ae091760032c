"""Who waits for which answer of the worker: it finds who asked, and of one page the last question counts."""

import logging
import queue
import threading
from dataclasses import dataclass, field

from studio.errors import InvalidRequestError, JobError, WorkerError
from studio.messages import Annotate, Annotated, Tokenize, Tokenized

log = logging.getLogger("studio.jobs")
WAITING_MAX = 4  # of one person at once
PATIENCE = 120.0  # seconds
Question = Annotate | Tokenize
Answer = Annotated | Tokenized | JobError | WorkerError
NOUNS = {Annotate: "map", Tokenize: "reading"}
FIELDS = {Annotate: "annotator", Tokenize: "prompt"}


@dataclass
class Asked:
    """A question under way."""

    question: Question
    owner: str
    answer: "queue.SimpleQueue[Answer]" = field(default_factory=queue.SimpleQueue[Answer])

    @property
    def noun(self) -> str:
        """What is waited for, in a word."""
        return NOUNS[type(self.question)]

    def is_replaced_by(self, other: Question) -> bool:
        """Whether the other is a later question of the same sort and page."""
        return bool(other.page) and type(self.question) is type(other) and self.question.page == other.page


class Maps:
    """The questions under way. Every call may come from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: dict[str, Asked] = {}

    def ask(self, question: Question, owner: str) -> Asked:
        """Note a question; an earlier one of the same page is answered that nobody wants it any more.

        Raises: JobError, if too many of the owner's are under way.
        """
        with self._lock:
            mine = [asked for asked in self._asked.values() if asked.owner == owner]
            stale = [asked for asked in mine if asked.is_replaced_by(question)]
            if len(mine) - len(stale) >= WAITING_MAX:
                raise JobError(f"{WAITING_MAX} of your maps are being made already.", hint="Wait until one is done.")
            for asked in stale:
                del self._asked[asked.question.id]
                error = JobError(f"A newer {asked.noun} was asked for.", hint="Its answer is the one to show.")
                asked.answer.put(error)
            asked = self._asked[question.id] = Asked(question, owner)
            return asked

    def wait(self, asked: Asked, seconds: float = PATIENCE) -> Annotated | Tokenized:
        """The answer. Raises: InvalidRequestError with the worker's words; JobError, if a newer one was asked for;
        WorkerError, if there was a bug, the worker ends, or it says nothing for so long.
        """
        try:
            said = asked.answer.get(timeout=seconds)
        except queue.Empty:
            raise WorkerError(f"There was no {asked.noun} after {seconds:g} seconds.", hint="Try it again.") from None
        finally:
            with self._lock:
                self._asked.pop(asked.question.id, None)
        if isinstance(said, JobError | WorkerError):
            raise said
        if said.detail:
            log.error("%s\n%s", said.message, said.detail)
            raise WorkerError(said.message, hint=said.hint)
        if said.message:
            raise InvalidRequestError(said.message, field=FIELDS[type(asked.question)], hint=said.hint)
        return said

    def heard(self, said: Annotated | Tokenized) -> None:
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
