"""One device, two that want it: the worker that makes pictures, and a training run in a process of its own."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from studio.messages import Free, Resident


@dataclass
class _Asked:
    """Who wants the device. patient: only while no picture waits; granted: called once it is theirs."""

    reason: str
    patient: bool
    granted: Callable[[], None]


class Lease:
    """The device is the worker's, until somebody asks for it and the worker has unloaded its models.

    Whoever borrows gives it back; jobs wait meanwhile, and `reason` says why. Calls may come from any thread, and call
    back without holding anything.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: _Asked | None = None
        self._unloading = self._lent = False
        self._look: Callable[[], None] | None = None  # wakes the dispatcher; None while there is none
        self.pictures_wait: Callable[[], None] = lambda: None  # told whoever borrowed, while a job waits for the device

    # ---- for whoever borrows

    @property
    def reason(self) -> str:
        """Why pictures wait; "" while they do not."""
        with self._lock:
            return self._asked.reason if self._asked is not None and (self._lent or self._unloading) else ""

    def ask(self, reason: str, granted: Callable[[], None], *, patient: bool) -> None:
        """Ask for the device; `granted` is called when it is yours, perhaps at once.

        Args:
            reason: What jobs that wait show.
            patient: Whether jobs that wait go first; else only the one that runs is waited for.
        """
        with self._lock:
            assert self._asked is None, "somebody has asked already"
            self._asked = _Asked(reason, patient, granted)
            look = self._look
        if look is None:
            self._grant()
        else:
            look()

    def give_back(self) -> None:
        """Jobs may run again; does nothing for one who has not asked."""
        with self._lock:
            self._asked, self._lent, self._unloading = None, False, False
            look = self._look
        if look is not None:
            look()

    # ---- for the dispatcher

    def serve(self, look: Callable[[], None] | None) -> None:
        """From now on a dispatcher has the device; with None there is no worker, so whoever asks has it at once."""
        with self._lock:
            self._look = look
        if look is None:
            self._grant()

    def keeps_back(self, waiting: Callable[[], int], send: Callable[[object], None]) -> bool:
        """Whether jobs must wait. The worker is told to unload when the device is to go over.

        Args:
            waiting: How many jobs are queued.
            send: Gives the worker a message; it is idle.
        """
        with self._lock:
            asked, lent = self._asked, self._lent
            if asked is None:
                return False
            if not lent and not self._unloading and not (asked.patient and waiting()):
                self._unloading = True
                send(Free())
            kept = lent or self._unloading
        if lent and waiting():
            self.pictures_wait()
        return kept

    def heard(self, resident: Resident) -> None:
        """What the worker holds; nothing, after it was told to unload."""
        if self._unloading and not resident.models:
            self._grant()

    def worker_gone(self) -> None:
        """The worker ended, and another one starts, which is told to unload again."""
        with self._lock:
            self._unloading = False

    def _grant(self) -> None:
        with self._lock:
            asked = self._asked
            if asked is None or self._lent:
                return
            self._unloading, self._lent = False, True
        asked.granted()
