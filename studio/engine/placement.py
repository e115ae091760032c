"""Where every part lies during a generation: planned before the run, by arithmetic that needs no device.

A generation has three phases: encode (the text encoders work), denoise (the UNet and the control models of the run),
decode (the autoencoder, also when it encodes a picture). What a phase does not need may wait outside.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cached_property

from studio.engine.working_sets import WorkingSet
from studio.errors import OutOfMemoryError

MIB = 2**20
HEADROOM = 400 * MIB  # what drivers and fragments take beyond what is counted; ComfyUI's EXTRA_RESERVED_VRAM on Linux
GUESTS = {"encode": "text_encoder", "decode": "vae"}
ASIDES = ((), ("decode",), ("encode",), ("encode", "decode"))
SPARE = 50  # a streamed part keeps about a fiftieth of its bytes: norms, biases and the first layer


class Rung(IntEnum):
    """The ladder, from what costs nothing to what costs most. Every rung may use the measures of those before it."""

    RESIDENT = 0
    IDLE_OUT = 1
    OTHERS_OUT = 2
    FP8 = 3
    STREAM = 4
    TILES = 5
    LEAST = 6


@dataclass(frozen=True)
class Memory:
    """A device's memory in bytes. free: what the driver has; reserved, active: of torch's allocator."""

    total: int
    free: int
    reserved: int = 0
    active: int = 0

    @property
    def available(self) -> int:
        """What a run can take: free memory, and what the allocator holds without use."""
        return self.free + self.reserved - self.active


@dataclass(frozen=True)
class Need:
    """A part that is wanted on the device.

    Fields:
        kind: unet, vae, text_encoder, controlnet, ...
        in_use: It works at every step: the UNet and the control models of this run. Never evicted.
        reload_cost: Seconds to bring it back.
        fp8_bytes: Its size in fp8 storage; equal to `bytes` where it cannot be stored so.
        reuse: Chance that it is wanted again soon, 0 to 1.
        other: It belongs to a checkpoint that this run does not use.
        layer_bytes: Of its largest layer; 0 if it cannot be streamed.
        resident: Bytes of it that are on the device now.
    """

    name: str
    kind: str
    bytes: int
    in_use: bool
    reload_cost: float
    fp8_bytes: int
    reuse: float = 1.0
    other: bool = False
    layer_bytes: int = 0
    resident: int = 0

    @property
    def score(self) -> float:
        """What evicting it is worth: bytes freed for each second that it is expected to cost later."""
        return self.bytes / max(self.reload_cost * self.reuse, 1e-9)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to do before a run.

    Fields:
        resident, evicted: Names of parts; an evicted part comes to the device for its own phase only.
        aside: Phases (encode, decode) in which the parts in use leave the device too, and come back afterwards.
        fp8: Store the parts in use in fp8.
        budgets: Device bytes, buffers included, of each part that is streamed, by name.
        streamed_bytes: How much of those parts lives in host memory.
        tiled_vae: Decode and encode in tiles.
        fits: Whether the estimate fits; if not, it is the least there is, and may work all the same.
        sentences: What was done, for a person.
    """

    rung: int
    resident: tuple[str, ...]
    evicted: tuple[str, ...]
    fp8: bool
    streamed_bytes: int
    tiled_vae: bool
    aside: tuple[str, ...]
    budgets: Mapping[str, int]
    fits: bool
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class _Choice:
    """Measures that are taken; evicted holds names."""

    evicted: frozenset[str] = frozenset()
    aside: tuple[str, ...] = ()
    fp8: bool = False
    tiled: bool = False
    budgets: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Case:
    """What is to be placed. room: bytes for the parts and the working set together."""

    room: int
    needs: tuple[Need, ...]
    working: WorkingSet

    @cached_property
    def loop(self) -> list[Need]:
        """The parts in use, the UNet first and then the largest: the order in which they are streamed."""
        return sorted((n for n in self.needs if n.in_use), key=lambda n: (n.kind != "unet", -n.bytes, n.name))

    @cached_property
    def idle(self) -> list[Need]:
        """Parts of this checkpoint, and control models, that no step needs: the best to evict first."""
        return _by_score(n for n in self.needs if not n.in_use and not n.other)

    @cached_property
    def others(self) -> list[Need]:
        """Parts of other checkpoints, the best to evict first."""
        return _by_score(n for n in self.needs if not n.in_use and n.other)

    def takes(self, need: Need, choice: _Choice) -> int:
        """Bytes of a part on the device while it works."""
        stored = min(need.fp8_bytes, need.bytes) if choice.fp8 and need.in_use else need.bytes
        return min(stored, choice.budgets.get(need.name, stored))

    def least(self, need: Need, choice: _Choice) -> int:
        """Bytes of a part when as much of it as possible is streamed."""
        whole = self.takes(need, choice)
        return min(whole, 2 * need.layer_bytes + whole // SPARE) if need.layer_bytes else whole

    def lacking(self, choice: _Choice) -> int:
        """Bytes by which the fullest phase exceeds the room; 0 or less: everything fits."""
        return max(self.phase(name, choice) for name in ("encode", "denoise", "decode")) - self.room

    def phase(self, phase: str, choice: _Choice) -> int:
        """Bytes on the device during a phase."""
        decode = min(self.working.tiled, self.working.decode) if choice.tiled else self.working.decode
        work = {"denoise": self.working.denoise, "decode": decode}
        there = [
            need
            for need in self.needs
            if (phase not in choice.aside if need.in_use else need.name not in choice.evicted or _guest(need, phase))
        ]
        return sum(self.takes(need, choice) for need in there) + work.get(phase, 0)

    def changes(self, rung: Rung) -> bool:
        """Whether the rung has a measure of its own to take here."""
        if rung == Rung.OTHERS_OUT:
            return bool(self.others)
        if rung == Rung.FP8:
            return any(n.fp8_bytes < n.bytes for n in self.loop)
        return rung != Rung.STREAM or any(n.layer_bytes for n in self.loop)


def plan(memory: Memory, needs: Iterable[Need], working_set: WorkingSet, floor_rung: int = 0) -> Plan:
    """The lowest rung on which everything fits, its measures taken only as far as they are needed.

    With `floor_rung`, after that plan's predecessor ran out of memory, no lower rung is taken, and every measure up to
    the rung is taken in full; a rung that would change nothing is left out. More memory never gives a higher rung.

    Raises: OutOfMemoryError, if `floor_rung` is above the last rung: there is nothing left to try.
    """
    needs = tuple(needs)
    if floor_rung > Rung.LEAST:
        raise OutOfMemoryError("Even with every part moved out of the way, the device has too little memory.")
    case = _Case(memory.available + sum(n.resident for n in needs) - HEADROOM, needs, working_set)
    choice = _Choice()
    for rung in (rung for rung in Rung if rung >= floor_rung and case.changes(rung)):
        choice = _full(case, rung) if floor_rung or rung == Rung.LEAST else _light(case, rung)
        if case.lacking(choice) <= 0:
            return _describe(case, rung, choice)
    return _describe(case, Rung.LEAST, choice)


def _light(case: _Case, rung: Rung) -> _Choice:
    """The measures of a rung, no more of them than needed; one that lacks something if that is not enough."""
    if rung == Rung.TILES:  # tiling alone may do: the lowest rung that fits together with it
        below = [replace(_stage(case, r, _Choice(tiled=True)), tiled=True) for r in Rung if r <= Rung.STREAM]
        return next((choice for choice in below if case.lacking(choice) <= 0), below[-1])
    return _stage(case, rung, _Choice())


def _stage(case: _Case, rung: Rung, start: _Choice) -> _Choice:
    if rung == Rung.RESIDENT:
        return start
    if rung == Rung.STREAM:
        out = frozenset(n.name for n in (*case.idle, *case.others))
        return _aside(case, _stream(case, replace(start, fp8=_any_fp8(case), evicted=out)))
    start = replace(start, fp8=rung == Rung.FP8)
    candidates = case.idle if rung == Rung.IDLE_OUT else [*case.idle, *case.others]
    tried = [_evict(case, replace(start, aside=aside), candidates) for aside in ASIDES]
    return next((choice for choice in tried if case.lacking(choice) <= 0), tried[-1])


def _evict(case: _Case, choice: _Choice, candidates: list[Need]) -> _Choice:
    """Evict in the order of `candidates` until it fits; then take back whatever need not have gone."""
    for need in candidates:
        if case.lacking(choice) <= 0:
            break
        choice = replace(choice, evicted=choice.evicted | {need.name})
    if case.lacking(choice) > 0:
        return choice
    for need in reversed(candidates):
        back = replace(choice, evicted=choice.evicted - {need.name})
        choice = back if case.lacking(back) <= 0 else choice
    return choice


def _aside(case: _Case, choice: _Choice) -> _Choice:
    """The least stepping aside that makes it fit."""
    tried = [replace(choice, aside=aside) for aside in ASIDES]
    return next((each for each in tried if case.lacking(each) <= 0), tried[-1])


def _stream(case: _Case, choice: _Choice, share: float = 1.0) -> _Choice:
    """Stream what the denoise phase lacks, and never keep more than `share` of a part on the device."""
    lack, budgets = case.phase("denoise", choice) - case.room, {}
    for need in case.loop:
        whole, least = case.takes(need, choice), case.least(need, choice)
        target = max(least, min(int(whole * share), whole - max(lack, 0)))
        lack -= whole - target
        if target < whole:
            budgets[need.name] = target
    return replace(choice, budgets=budgets)


def _full(case: _Case, rung: Rung) -> _Choice:
    """Every measure up to the rung, in full."""
    out = [*case.idle, *(case.others if rung >= Rung.OTHERS_OUT else ())]
    choice = _Choice(
        evicted=frozenset(need.name for need in out),
        aside=ASIDES[-1],
        fp8=rung >= Rung.FP8 and _any_fp8(case),
        tiled=rung >= Rung.TILES,
    )
    if rung < Rung.STREAM:
        return choice
    return _stream(case, choice, share=0.0 if rung == Rung.LEAST else 0.5)


def _describe(case: _Case, rung: Rung, choice: _Choice) -> Plan:
    resting = [need for need in case.needs if not need.in_use]
    whole = replace(choice, budgets={})
    buffers = {need.name: 2 * need.layer_bytes for need in case.loop}
    streamed = sum(case.takes(n, whole) - choice.budgets[n.name] + buffers[n.name] for n in _streamed(case, choice))
    return Plan(
        rung=int(rung),
        resident=tuple(n.name for n in case.needs if n.name not in choice.evicted),
        evicted=tuple(n.name for n in resting if n.name in choice.evicted),
        fp8=choice.fp8 and _any_fp8(case),
        streamed_bytes=streamed,
        tiled_vae=choice.tiled,
        aside=choice.aside,
        budgets=dict(choice.budgets),
        fits=case.lacking(choice) <= 0,
        sentences=tuple(_sentences(case, choice, streamed)),
    )


def _sentences(case: _Case, choice: _Choice, streamed: int) -> Iterator[str]:
    if choice == _Choice() and case.lacking(choice) <= 0:
        yield "Everything stays in the device's memory."
    for needs, why in ((case.idle, "until needed"), (case.others, "to make room")):
        names = [need.name for need in needs if need.name in choice.evicted]
        if names:
            yield f"Kept outside the device's memory {why}: {', '.join(names)}."
    if choice.aside:
        work = {"encode": "the prompt is encoded", "decode": "pictures are decoded"}
        while_ = " and while ".join(work[phase] for phase in choice.aside)
        yield f"Moved out while {while_}: {', '.join(need.name for need in case.loop)}."
    if choice.fp8 and _any_fp8(case):
        yield "Weights are stored in 8 bits, which changes pictures slightly."
    if choice.budgets:
        names = ", ".join(need.name for need in _streamed(case, choice))
        yield f"{streamed / MIB:.0f} MiB of {names} stay in main memory and pass by at every step, which is slower."
    if choice.tiled:
        yield "Pictures are decoded in tiles."
    if case.lacking(choice) > 0:
        yield f"By the estimate {case.lacking(choice) / MIB:.0f} MiB are still lacking; a smaller picture needs less."


def _streamed(case: _Case, choice: _Choice) -> list[Need]:
    return [need for need in case.loop if need.name in choice.budgets]


def _any_fp8(case: _Case) -> bool:
    return case.changes(Rung.FP8)


def _guest(need: Need, phase: str) -> bool:
    """Whether an evicted part comes to the device in that phase."""
    return not need.other and GUESTS.get(phase) == need.kind


def _by_score(needs: Iterable[Need]) -> list[Need]:
    return sorted(needs, key=lambda need: (-need.score, need.name))
