"""A run on its way: it waits for the device, its process works, pauses and goes on, until it has ended."""

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from studio.errors import StudioError
from studio.jobs.lease import Lease
from studio.trainings.process import Child
from studio.trainings.run import (
    DONE,
    GOING,
    INTERRUPTED,
    PAUSED,
    PREPARING,
    STOPPED,
    Run,
    heard,
)

log = logging.getLogger("studio.training")
Event = dict[str, Any]
Signal = Literal["granted", "pictures", "ended", "leave"]
PICTURES = "pictures"
GO, STOP = "go", "stop"
ENDED_HINT = "Go on from its last state with Resume; logs/studio.log and child.log in its folder say more."


@dataclass(kw_only=True)
class Course:
    """What happens to one run, in one thread; others send orders.

    While it is paused its process may end, so that its memory is free: its state was written, and another process goes
    on with it as if there had been no pause.

    Fields:
        start: Starts its process. Raises: StudioError, OSError.
        finish: Called with the last event, done, before it is told: puts results into the library. Raises: StudioError.
        changed: Called after every change, with the event that made it, or None.
    """

    run: Run
    lease: Lease
    start: Callable[[], Child]
    finish: Callable[[Event], None]
    changed: Callable[[Event | None], None]
    _inbox: "queue.SimpleQueue[Event | Signal | tuple[str]]" = field(
        default_factory=lambda: queue.SimpleQueue[Event | Signal | tuple[str]]()
    )
    _child: Child | None = None
    _pausing: bool = False
    _asking: bool = False
    _resting: bool = False  # its process has ended in a pause, or is about to
    _next: str = ""  # what was said then: go or stop
    _left: bool = False
    _last: Event | None = None

    def do(self, word: str) -> None:
        """An order from any thread: pause, go, stop, sample or save."""
        self._inbox.put((word,))

    def leave(self) -> None:
        """The studio ends: keep the state and end, too."""
        self._inbox.put("leave")

    def carry_out(self) -> None:
        """From the queue to the end of its process; the run says then how it ended."""
        self.lease.pictures_wait = lambda: self._inbox.put(PICTURES)
        try:
            self._ask()
            while self._turn(self._inbox.get()):
                pass
        finally:
            self.lease.pictures_wait = lambda: None
            self.lease.give_back()
            if self._child is not None:
                self._child.end()

    def _ask(self) -> None:
        self._asking = True
        reason = f"The training of {self.run.params.name} has the device."
        self.lease.ask(reason, lambda: self._inbox.put("granted"), patient=self.run.yields)

    def _turn(self, message: "Event | Signal | tuple[str]") -> bool:
        """Whether there is more to come."""
        match message:
            case "granted":
                return self._granted()
            case "pictures":
                self._make_room()
            case "leave":
                return self._leave()
            case "ended":
                return self._ended()
            case (word,):
                return self._obey(str(word))
            case _:
                self._hear(message)  # type: ignore[arg-type]
        return True

    def _granted(self) -> bool:
        if not self._asking:
            return True  # it was given back before this was heard
        self._asking = False
        if self._child is not None:
            self._child.tell(GO)
            return True
        stops, self._resting, self._pausing, self._next = self._next == STOP, False, False, ""
        self.run.state, self.run.phase = PREPARING, ""
        self.changed(None)
        try:
            self._child = self.start()
        except (StudioError, OSError) as error:
            self.run.fail(str(error), getattr(error, "hint", ""), getattr(error, "field", ""))
            self.changed(None)
            return False
        if stops:
            self._child.tell(STOP)
        threading.Thread(target=self._listen, args=(self._child,), name="training", daemon=True).start()
        return True

    def _listen(self, child: Child) -> None:
        for event in child.events():
            self._inbox.put(event)
        self._inbox.put("ended")

    def _make_room(self) -> None:
        """Pictures wait for the device: pause at the next step, if the person wants that."""
        if self.run.yields and self._child is not None and not self._pausing and self.run.state in GOING:
            self._pausing = True
            self._child.tell("pause")

    def _obey(self, word: str) -> bool:
        if self._resting:
            self._obey_later(word)
            return True
        if self._child is None:
            if word == "stop":
                self.run.state = STOPPED
                self.changed(None)
            return word != "stop"
        if word == "go" and self.run.state == PAUSED:
            if not self._asking:
                self._ask()
        elif word == "pause":
            if self.run.state == PAUSED and self.run.phase == PICTURES:
                self.lease.give_back()  # it was to go on after the pictures, and now waits for the person
                self.run.phase, self._asking = "", False
                self.changed(None)
            else:
                self._child.tell(word)
        else:
            self._child.tell(word)
        return True

    def _obey_later(self, word: str) -> None:
        """What is said to a run whose process has ended in a pause, or is about to."""
        if word == "pause":  # it was to go on after the pictures, and now waits for the person
            self.lease.give_back()
            self.run.phase, self._asking, self._next = "", False, ""
            self.changed(None)
        elif word in (GO, STOP):
            self._next = word
            if self._child is None and not self._asking:
                self._ask()

    def _leave(self) -> bool:
        self._left = True
        if self._child is None:
            if self._resting:
                self.run.state, self.run.phase = INTERRUPTED, ""
                self.changed(None)
            return False
        self._child.leave()
        return True

    def _hear(self, event: Event) -> None:
        if event["event"] in ("done", "error"):
            if self._last is None or self._last["event"] != "error":  # of several processes the first that failed knows
                self._last = event  # it counts once the process is gone, and its files are nobody's
            return
        heard(self.run, event)
        if event["event"] == "paused":
            self._paused(event)
        elif event["event"] == "resumed":
            self._pausing = False
        self.changed(event)

    def _paused(self, event: Event) -> None:
        """It rests: where the state is written and memory is short, or a person wants it free, its process ends."""
        self.run.left, for_pictures, self._pausing = None, self._pausing, False
        self.run.phase = PICTURES if for_pictures else ""
        if self._child is not None and event.get("kept") and (event.get("short") or not for_pictures):
            self._resting = True
            self._child.leave()
        else:
            self._make_way()

    def _make_way(self) -> None:
        self.lease.give_back()
        if self.run.phase == PICTURES or self._next:
            self._ask()

    def _ended(self) -> bool:
        """Its process is gone; one that did not say how it ended was left, or killed. Returns: whether it goes on."""
        run, last, child = self.run, self._last, self._child
        assert child is not None
        if self._resting and not self._left and last is None:
            self._child = None
            self._make_way()
            return True
        run.phase, run.left = "", None
        if last is not None and last["event"] == "done":
            self._done(last)
        elif last is not None:
            run.fail(str(last["error"]), str(last.get("hint", "")), str(last.get("field", "")))
        elif self._left:
            run.state = INTERRUPTED
        else:
            words = child.last_words()
            log.error("the training %s ended: %s", run.id, words)
            run.fail(f"The training process ended: {words}.".replace("..", "."), ENDED_HINT)
        self.changed(last)
        return False

    def _done(self, event: Event) -> None:
        try:
            self.finish(event)
            self.run.state = STOPPED if event.get("stopped") else DONE
        except StudioError as error:
            self.run.fail(str(error), error.hint)
