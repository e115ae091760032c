"""The models that a person chose, warmed up in the worker while they still draw."""

import logging
import threading
from dataclasses import dataclass, field
from typing import Any

from studio.access import LOCAL_USER
from studio.errors import StudioError
from studio.jobs.events import Events
from studio.jobs.worker import Dispatcher
from studio.library.index import Library, ModelEntry
from studio.messages import Prefetch
from studio.resolve import Resolver

log = logging.getLogger("studio")


@dataclass(frozen=True)
class Chosen:
    """What the next picture will probably need. vae: None is the checkpoint's own."""

    checkpoint: ModelEntry
    controls: tuple[ModelEntry, ...] = ()
    vae: ModelEntry | None = None

    @property
    def entries(self) -> tuple[ModelEntry, ...]:
        """All of them, the checkpoint first."""
        return (self.checkpoint, *self.controls, *([self.vae] if self.vae else []))


@dataclass(kw_only=True)
class Warming:
    """Of several choices the last one counts: `chosen`."""

    library: Library
    resolver: Resolver
    dispatcher: Dispatcher
    events: Events
    chosen: Chosen | None = field(default=None, init=False)

    def begin(self, checkpoint: str | None = None, controls: tuple[str, ...] = (), vae: str = "") -> None:
        """Have the checkpoint loaded, with the control models of these kinds and that autoencoder; returns at once.

        Models that nobody has used yet are read from end to end first, which gives them their ids. A control model or
        an autoencoder that cannot be used is left out: whoever asks for a picture is told.
        Raises: StudioError, if the checkpoint cannot be used.
        """
        entry = self.resolver.checkpoint(checkpoint)
        found = [model for kind in controls if (model := self._control(kind, entry)) is not None]
        chosen = self.chosen = Chosen(entry, tuple(found), self._vae(vae, entry))
        if self.library.start_hashing(chosen.entries):
            self._tell(entry.name, "reading")
            threading.Thread(target=self.warm_up, args=(chosen,), name="prefetch", daemon=True).start()
        else:
            self.warm_up(chosen)

    def warm_up(self, chosen: Chosen) -> None:
        """Give the models to the worker, once their ids are known; older choices are left."""
        try:
            checkpoint, *controls = [self.library.location(entry) for entry in (chosen.checkpoint, *chosen.controls)]
            vae = self.library.location(chosen.vae) if chosen.vae else None
        except StudioError as error:
            log.warning("warming up: %s", error)  # the job that needs it will say so to whoever asked
            self._tell(chosen.checkpoint.name, "failed", error.sentence())
            return
        if self.chosen is chosen:
            self.dispatcher.prefetch(Prefetch(checkpoint, tuple(controls), vae))

    def _control(self, kind: str, checkpoint: ModelEntry) -> ModelEntry | None:
        try:
            return self.resolver.control_entry(kind, "", checkpoint)
        except StudioError:
            return None

    def _vae(self, name: str, checkpoint: ModelEntry) -> ModelEntry | None:
        try:
            return self.resolver.vae_entry(name, checkpoint)
        except StudioError:
            return None

    def _tell(self, name: str, state: str, reason: str = "") -> None:
        """How a checkpoint that was chosen comes into memory, as the worker tells it later."""
        told: dict[str, Any] = {"type": "loading", "name": name, "state": state, "seconds": 0.0, "reason": reason}
        self.events.publish(told, LOCAL_USER.name)
