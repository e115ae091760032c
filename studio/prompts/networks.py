"""Tags that name adapters: <lora:name:0.8>."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

TAG = re.compile(r"<(\w+):([^<>]+)>")
LORAS = ("lora", "lyco", "locon")
KINDS = (*LORAS, "hypernet")
CURVES = ("constant", "rise", "fall")
T = TypeVar("T")


@dataclass(frozen=True)
class NetworkTag:
    """One adapter that a prompt names.

    Fields:
        kind: "lora" or "hypernetwork"; name: as written; written: the whole tag.
        weight: Of the UNet; 1 where none is written. text_weight: of the text encoders; None is as the UNet's.
        rank: How many rows of a LoRA count, A1111's `dyn`; None is all.
        start, end, curve: As in params.AdapterRef.
    """

    kind: str
    name: str
    written: str
    weight: float = 1.0
    text_weight: float | None = None
    rank: int | None = None
    start: float = 0.0
    end: float = 1.0
    curve: str = "constant"


@dataclass(frozen=True)
class ReadTags:
    """A prompt without its tags, the tags in their order, and sentences on what was not understood."""

    text: str
    tags: tuple[NetworkTag, ...] = ()
    notes: tuple[str, ...] = ()


def read_networks(text: str) -> ReadTags:
    """Take the tags of adapters out of a prompt.

    Syntax: `<lora:name>`, `<lora:name:weight>`, `<lora:name:te:unet>`, `<lora:name:te:unet:dyn>` and, for any of these,
    the keyed forms `te=`, `unet=`, `dyn=`, and ours `start=`, `end=`, `curve=`; `<lyco:...>` and `<locon:...>` are
    read as `<lora:...>`. `<hypernet:name:weight>`. A missing weight is 1, and the UNet's is the text encoders' unless
    it is written. What stands there but is no number counts as missing, and is told. Other tags are taken out too, with
    a note; what only looks a little like a tag stays text.
    Source: AUTOMATIC1111/stable-diffusion-webui, modules/extra_networks.py, extensions-builtin/Lora.
    """
    tags: list[NetworkTag] = []
    notes: list[str] = []

    def take(match: re.Match[str]) -> str:
        if match[1].lower() in KINDS:
            tags.append(_read(match, notes))
        else:
            notes.append(
                f"{match[0][:80]} is no tag that is known; it was left out. Known: <lora:...>, <hypernet:...>."
            )
        return ""

    return ReadTags(TAG.sub(take, text), tuple(tags), tuple(notes))


def _read(match: re.Match[str], notes: list[str]) -> NetworkTag:
    name, *rest = (part.strip() for part in match[2].split(":"))
    args = _Arguments(match[0], rest, notes)
    tag = NetworkTag("lora" if match[1].lower() in LORAS else "hypernetwork", name, match[0])
    if tag.kind == "hypernetwork":
        tag = replace(tag, weight=args.number("weight", 0, 1.0))
    else:
        text_weight = args.number("te", 0, 1.0)
        weight = args.number("unet", 1, text_weight)
        rank = args.take("dyn", 2, None, _rank)
        tag = replace(tag, weight=weight, text_weight=None if text_weight == weight else text_weight, rank=rank)
    start, end = args.number("start", -1, 0.0), args.number("end", -1, 1.0)
    tag = replace(tag, start=start, end=end, curve=args.take("curve", -1, "constant", _curve))
    args.finish()
    return tag


class _Arguments:
    """What stands after the name, by place or by key."""

    def __init__(self, written: str, rest: Sequence[str], notes: list[str]) -> None:
        self.written, self.notes = written[:80], notes
        self.keyed = dict(part.split("=", 1) for part in rest if "=" in part)
        self.placed: list[str | None] = [part for part in rest if "=" not in part]

    def number(self, key: str, place: int, default: float) -> float:
        """A finite number."""
        return self.take(key, place, default, _finite)

    def take(self, key: str, place: int, default: T, read: Callable[[str], T]) -> T:
        """What stands under the key, or else at the place; the default with a note if it cannot be read."""
        placed = None
        if 0 <= place < len(self.placed):
            placed, self.placed[place] = self.placed[place], None
        found = self.keyed.pop(key, placed)
        if not found:
            return default
        try:
            return read(found)
        except ValueError:
            self.notes.append(f"{found[:40]!r} in {self.written} cannot be used as {key}; {default} is used.")
            return default

    def finish(self) -> None:
        """Tell what nobody took."""
        left = [*self.keyed, *(part for part in self.placed if part)]
        if left:
            self.notes.append(f"{left[0][:40]!r} in {self.written} says nothing that is known; it was passed over.")


def _finite(written: str) -> float:
    if not math.isfinite(value := float(written)):
        raise ValueError(written)
    return value


def _rank(written: str) -> int | None:
    return max(1, int(written))


def _curve(written: str) -> str:
    if written not in CURVES:
        raise ValueError(written)
    return written
