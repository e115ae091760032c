"""What a rule sees of a file, and how a rule compares it with what it knows."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from studio.library.header import Header, Tensors, shown
from studio.library.identity import precision
from studio.library.names import Names, Shape

FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
SURE = 0.98  # the share of a network's tensors that has to be there for it to be named
LIKELY = 0.5  # enough to say what the file was meant to be
ARCHITECTURES = (  # what trainers write into a file's metadata, by how it begins; the most special first
    ("stable-diffusion-xl-v1-refiner", "sdxl-refiner"),
    ("stable-diffusion-xl", "sdxl"),
    ("sdxl", "sdxl"),
    ("sd_xl", "sdxl"),
    ("stable-diffusion-v2", "sd2"),
    ("sd_v2", "sd2"),
    ("stable-diffusion-v1", "sd1"),
    ("sd_v1", "sd1"),
)
STARTER = "maquette.base"  # in the metadata of files that were made from a starter pack
TAUGHT_MAX, OFTEN = 8, 0.75
SAYS_BASE = ("modelspec.architecture", "ss_base_model_version")


@dataclass(frozen=True)
class Subject:
    """A file whose header was read.

    Fields:
        name: The file's name without its ending.
        place: The kind of model that its folder is for; "" if none.
        values: Reads the numbers of a small tensor; none, if they cannot be read.
        beside: The text of the configuration file beside it, as A1111 keeps it; "" if there is none.
    """

    header: Header
    name: str = ""
    place: str = ""
    values: Callable[[str], tuple[float, ...]] = lambda _: ()
    beside: Callable[[], str] = lambda: ""

    @property
    def tensors(self) -> Tensors:
        """Every tensor by its name."""
        return self.header.tensors

    @property
    def roots(self) -> dict[str, int]:
        """How many names begin with each word, up to the first dot."""
        return self.tensors.once(_roots)

    @property
    def precision(self) -> str:
        """See `studio.library.identity.precision`."""
        return self.tensors.once(_precision)

    def shape(self, name: str) -> Shape:
        """The shape of that tensor; () if there is none."""
        info = self.tensors.get(name)
        return info.shape if info else ()

    def size(self, name: str, dimension: int) -> int:
        """One dimension of that tensor; 0 if it has no such dimension."""
        shape = self.shape(name)
        return shape[dimension] if len(shape) > dimension else 0

    def under(self, prefix: str) -> bool:
        """Whether a name begins so."""
        return self.tensors.once(_under, prefix)

    @cached_property
    def said_base(self) -> str:
        """The base model that the file's metadata names; "" if none that is known here."""
        said = " ".join(self.header.metadata.get(name, "").lower() for name in SAYS_BASE).split()
        return next((base for start, base in ARCHITECTURES if any(word.startswith(start) for word in said)), "")

    @property
    def said_other(self) -> str:
        """The architecture that the metadata names, if it is none of those known here."""
        said = self.header.metadata.get(SAYS_BASE[0], "")
        return shown(said) if said and not self.said_base else ""

    @cached_property
    def triggers(self) -> tuple[str, ...]:
        """Words that the file says to use it by."""
        said = self.header.metadata.get("modelspec.trigger_phrase", "")
        words = [word for part in said.split(",") if (word := shown(part.strip()))]
        return tuple(words or self._taught)[:20]

    @property
    def _taught(self) -> list[str]:
        """The tags that most captions had that it was trained with, as kohya-ss/sd-scripts counts them by folder."""
        try:
            counted = json.loads(self.header.metadata.get("ss_tag_frequency", ""))
            total: Counter[str] = Counter()
            for tags in counted.values():
                total.update({str(tag).strip(): int(count) for tag, count in tags.items()})
        except (ValueError, TypeError, AttributeError, RecursionError):
            return []
        most = max(total.values(), default=0)
        often = [tag for tag, count in total.most_common(TAUGHT_MAX) if tag and count >= OFTEN * most]
        return [shown(tag) for tag in often]

    def name_has(self, pattern: str) -> bool:
        """Whether the file's name speaks of it. A guess: for what tensors cannot tell."""
        return re.search(pattern, self.name.lower()) is not None


def _roots(tensors: Tensors) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in tensors:
        root = name.partition(".")[0]
        counts[root] = counts.get(root, 0) + 1
    return counts


def _precision(tensors: Tensors) -> str:
    return precision(tensors.values())


def _under(tensors: Tensors, prefix: str) -> bool:
    return any(name.startswith(prefix) for name in tensors)


@dataclass(frozen=True)
class Fit:
    """How a file's tensors compare with a network's."""

    total: int
    missing: tuple[str, ...]
    wrong: tuple[str, ...]

    @property
    def share(self) -> float:
        """Of the network's tensors, those that are there as they should be: 0 to 1."""
        return 1 - (len(self.missing) + len(self.wrong)) / self.total

    @property
    def fault(self) -> str:
        """What is not as it should be, as the end of a sentence; "" if all is well."""
        if self.missing:
            return f"it lacks {_many(self.missing)}"
        return f"it has another shape or type in {_many(self.wrong)}" if self.wrong else ""


def fit(subject: Subject, expected: Names, prefix: str = "", free: Iterable[str] = ()) -> Fit:
    """Compare with a network's tensors. Shapes that differ by dimensions of 1 at their end are the same: programs store
    1x1 convolutions and matrices as one another. free: names whose second dimension is not looked at."""
    missing: list[str] = []
    wrong: list[str] = []
    open_ended = frozenset(free)
    for name, shape in expected.items():
        info = subject.tensors.get(f"{prefix}{name}")
        if info is None:
            missing.append(f"{prefix}{name}")
        elif info.dtype not in FLOATS or not _same(info.shape, shape, name in open_ended):
            wrong.append(f"{prefix}{name}")
    return Fit(len(expected), tuple(missing), tuple(wrong))


def _same(found: Shape, expected: Shape, free: bool) -> bool:
    if free:
        found, expected = found[:1] + found[2:], expected[:1] + expected[2:]
    return found == expected or _bare(found) == _bare(expected)


def _bare(shape: Shape) -> Shape:
    while shape and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def _many(names: tuple[str, ...]) -> str:
    first = shown(names[0])
    return first if len(names) == 1 else f"{len(names)} of its tensors, such as {first}"
