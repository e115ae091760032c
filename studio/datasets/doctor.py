"""What is wrong with a dataset, in plain words, and what to do about it."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from studio.datasets.buckets import cut
from studio.datasets.looks import Look

BLURRED = 0.5  # pictures of the starter's world have 0.04, and 0.6 when blurred by two of their 128 pixels
SAME, SAME_AT_ONE = 2.5, 20  # levels of 255 by which fingerprints differ: on average, and at one place
CROPPED = 0.15
FEW, MANY = 3, 1000


@dataclass(frozen=True)
class Case:
    """One picture as the doctor sees it. masked: whether a mask lies beside it."""

    name: str
    look: Look
    caption: str | None = None
    masked: bool = False


@dataclass(frozen=True)
class Finding:
    """One thing to know: its kind, a sentence or two that say what to do, and the pictures that it is about."""

    kind: str
    text: str
    files: tuple[str, ...] = ()


def examine(cases: Sequence[Case], resolution: int = 0, trigger: str = "") -> list[Finding]:
    """Everything worth knowing, gravest first; nothing for a healthy dataset.

    Args:
        resolution: That it will be trained at, pixels; 0 if that is not known: then sizes are not judged.
        trigger: The word that shall call the result; "" if there is none yet.
    """
    whole = [case for case in cases if not case.look.trouble]
    found = [*_corrupt(cases), *_amount(whole), *_alike(whole), *_blurred(whole)]
    if resolution:
        found += [*_tiny(whole, resolution), *_cropped(whole, resolution)]
    return [*found, *_clear(whole), *_captions(whole, trigger)]


def _corrupt(cases: Sequence[Case]) -> Iterator[Finding]:
    bad = [case for case in cases if case.look.trouble]
    if bad:
        first = f"{bad[0].name}: {bad[0].look.trouble}"
        text = f"{_count(bad, 'cannot be read and is', 'cannot be read and are')} left out. {first}"
        yield Finding("corrupt", text, _names(bad))


def _amount(cases: Sequence[Case]) -> Iterator[Finding]:
    if not cases:
        yield Finding("few", "There are no pictures yet. Drop some here: five good ones of one thing are enough.")
    elif len(cases) < FEW:
        text = f"There {'is' if len(cases) == 1 else 'are'} only {len(cases)}, so background and pose are learned too."
        yield Finding("few", f"{text} Add some with other backgrounds; five is a good number.")
    elif len(cases) > MANY:
        text = f"There are {len(cases)} pictures. For one person or thing choose the best 10 to 30: more teach it less"
        yield Finding("many", f"{text} evenly. For a style or a control model many are right.")


def _alike(cases: Sequence[Case]) -> Iterator[Finding]:
    groups = _groups(cases)
    if len(cases) > 1 and len(groups) == 1 and len(groups[0]) == len(cases):
        text = "All pictures are the same, so only this one picture can be learned. Add different ones."
        yield Finding("identical", text, _names(cases))
        return
    exact = [group for group in groups if len({case.look.content for case in group}) == 1]
    near = [group for group in groups if group not in exact]
    if exact:
        copies = sum(len(group) - 1 for group in exact)
        text = f"{copies} picture{_s(copies)} {'is a copy' if copies == 1 else 'are copies'} of another: copies count"
        yield Finding("duplicates", f"{text} twice in training. Delete all but one.", _names(_flat(exact)))
    if near:
        text = f"{_count(_flat(near), 'is', 'are')} nearly the same as another: it counts twice. Keep the best one."
        yield Finding("near-duplicates", text, _names(_flat(near)))


def _blurred(cases: Sequence[Case]) -> Iterator[Finding]:
    bad = [case for case in cases if case.look.blur > BLURRED]
    if bad:
        text = f"{_count(bad, 'looks blurred', 'look blurred')}, and blur is learned like everything else."
        yield Finding("blurred", f"{text} Delete them or find sharper ones.", _names(bad))


def _tiny(cases: Sequence[Case], resolution: int) -> Iterator[Finding]:
    enlarged = [(case, _enlarged(case.look, resolution)) for case in cases]
    bad = [(case, times) for case, times in enlarged if times > 1.05]
    if bad:
        most = max(times for _, times in bad)
        few = [case for case, _ in bad]
        text = f"{_count(few, 'is', 'are')} smaller than the {resolution} pixels of training and will be enlarged"
        yield Finding("tiny", f"{text}, up to {most:.1f} times, which blurs. Find larger ones.", _names(few))


def _enlarged(look: Look, resolution: int) -> float:
    """How many times the picture is enlarged to fill its bucket."""
    return cut((look.width, look.height), resolution).scaled[0] / look.width


def _cropped(cases: Sequence[Case], resolution: int) -> Iterator[Finding]:
    by_bucket = defaultdict[tuple[int, int], list[tuple[Case, float]]](list)
    for case in cases:
        found = cut((case.look.width, case.look.height), resolution)
        if found.lost > CROPPED:
            by_bucket[found.size].append((case, found.lost))
    for (width, height), pairs in sorted(by_bucket.items()):
        bad, most = [case for case, _ in pairs], max(lost for _, lost in pairs)
        text = f"{_count(bad, 'loses', 'lose')} up to {most:.0%} at the edges when cut to {width} x {height} pixels."
        yield Finding("cropped", f"{text} Crop them yourself if what matters is near an edge.", _names(bad))


def _clear(cases: Sequence[Case]) -> Iterator[Finding]:
    clear = [case for case in cases if case.look.clear and not case.masked]
    if clear and len(clear) < len(cases):
        text = f"{_count(clear, 'is', 'are')} transparent in places and the others are not. What is transparent is"
        yield Finding("alpha", f"{text} seen as white; with masks on it does not count at all.", _names(clear))


def _captions(cases: Sequence[Case], trigger: str) -> Iterator[Finding]:
    without = [case for case in cases if not case.caption]
    if without and len(without) == len(cases):
        text = "No picture has a caption. For one person or thing that is fine: the word that calls it will do."
        yield Finding("unlabelled", f"{text} For a style, write or make captions.", _names(without))
    elif without:
        text = f"{_count(without, 'has', 'have')} no caption: only the word that calls it is learned with them."
        yield Finding("unlabelled", f"{text} Write one, or have them made.", _names(without))
    lacking = [case for case in cases if case.caption and trigger and not has_word(case.caption, trigger)]
    if lacking:
        text = f"{_count(lacking, 'has a caption', 'have captions')} without {trigger!r}, the word that calls it."
        yield Finding(
            "trigger", f"{text} It is put in front while training; write it where it belongs.", _names(lacking)
        )


def has_word(text: str, word: str) -> bool:
    """Whether the text holds the word, or words, as such and not as a part of another."""
    return bool(word.strip()) and bool(re.search(rf"(?<!\w){re.escape(word.strip())}(?!\w)", text, re.IGNORECASE))


def _groups(cases: Sequence[Case]) -> list[list[Case]]:
    """Pictures that look the same, two and more together, each in one group."""
    order = sorted(cases, key=lambda case: float(case.look.colors.mean()))
    colors = np.stack([case.look.colors for case in order]) if order else np.zeros((0, 1), np.int16)
    means = cast(NDArray[np.float64], colors.mean(1) if len(order) else np.zeros(0))
    first = list(range(len(order)))
    for at in range(len(order)):
        end = int(np.searchsorted(means, float(means[at]) + SAME, "right"))
        apart = np.abs(colors[at + 1 : end] - colors[at])
        alike = (apart.mean(1) <= SAME) & (apart.max(1, initial=0) <= SAME_AT_ONE)
        for other in np.flatnonzero(alike).tolist():
            first[at + 1 + other] = min(first[at + 1 + other], first[at])
    groups = defaultdict[int, list[Case]](list)
    for at, case in enumerate(order):
        groups[first[at]].append(case)
    return sorted(
        (sorted(g, key=lambda case: case.name) for g in groups.values() if len(g) > 1), key=lambda g: g[0].name
    )


def _flat(groups: Sequence[Sequence[Case]]) -> list[Case]:
    return [case for group in groups for case in group]


def _names(cases: Sequence[Case]) -> tuple[str, ...]:
    return tuple(case.name for case in cases)


def _count(cases: Sequence[Case], one: str, many: str) -> str:
    return f"{len(cases)} picture{_s(len(cases))} {one if len(cases) == 1 else many}"


def _s(count: int) -> str:
    return "" if count == 1 else "s"
