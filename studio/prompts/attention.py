"""How much each word counts: (more), [less], (this much:1.2), and BREAK."""

import math
import re
from itertools import accumulate

Fragment = tuple[str, float]
BREAK: Fragment = ("BREAK", -1.0)  # compared with `is`: the same words may be typed with that weight
STEP = 1.1
STEPS_MAX = 500  # of nested brackets; 1.1 to that power is 5e20
TOKEN = re.compile(r"\\[()\[\]\\]|\\|\(|\[|:\s*([+-]?[.\d]+)\s*\)|\)|\]|[^\\()\[\]:]+|:")
BREAKS = re.compile(r"\bBREAK\b")


def parse_attention(text: str) -> list[Fragment]:
    r"""The text as fragments with their weights; `BREAK` itself (by identity) stands where a window is to end.

    Syntax: `(words)` weighs 1.1 times as much, `[words]` 1/1.1 times, `(words:1.2)` 1.2 times; brackets nest, and what
    they say is multiplied. `\(`, `\)`, `\[`, `\]` and `\\` are those characters; another backslash is dropped. A
    bracket that is never closed reaches to the end; one that was never opened is text. BREAK is a word of its own in
    capitals, and takes the blanks around it along. Neighbours of equal weight are joined; no words give [("", 1.0)].
    Linear in the text's length, however deep the brackets are.

    Where it differs from its source: a BREAK inside brackets is a break (there its weight was multiplied, and it became
    a word), and `(words:1.2.3)`, where the number is none, is bare brackets around text (there it ended the job).
    Source: AUTOMATIC1111/stable-diffusion-webui v1.10.1, modules/prompt_parser.py, by its results.
    """
    fragments, ranges = _read(text)
    weights = _weigh(len(fragments), ranges)
    return _joined([(words, weight) for (words, _), weight in zip(fragments, weights, strict=True)], fragments)


Range = tuple[int, int, float | None]  # the fragments from, up to, and the factor; None: 1.1, nan: 1/1.1


def _read(text: str) -> tuple[list[Fragment], list[Range]]:
    """Fragments that weigh nothing yet, and the ranges of them that brackets hold."""
    fragments: list[Fragment] = []
    ranges: list[Range] = []
    opened: dict[str, list[int]] = {"(": [], "[": []}
    for match in TOKEN.finditer(text):
        token, number = match[0], _number(match[1])
        if token in opened:
            opened[token].append(len(fragments))
        elif token == "]" and opened["["]:
            ranges.append((opened["["].pop(), len(fragments), math.nan))
        elif token[-1] == ")" and token[0] != "\\" and opened["("]:
            if match[1] and number is None:
                fragments.append((token[:-1], 1.0))
            ranges.append((opened["("].pop(), len(fragments), number))
        elif token[0] == "\\":
            fragments.append((token[1:], 1.0))
        else:
            fragments += _at_breaks(token)
    ranges += [(start, len(fragments), None) for start in opened["("]]
    ranges += [(start, len(fragments), math.nan) for start in opened["["]]
    return fragments, ranges


def _at_breaks(words: str) -> list[Fragment]:
    parts = BREAKS.split(words)
    last = len(parts) - 1
    trimmed = [part.lstrip() if i else part for i, part in enumerate(parts)]
    fragments: list[Fragment] = []
    for i, part in enumerate(trimmed):
        fragments += [(part.rstrip() if i < last else part, 1.0), BREAK]
    return fragments[:-1]


def _number(written: str | None) -> float | None:
    try:
        return None if written is None else float(written)
    except ValueError:
        return None


def _weigh(count: int, ranges: list[Range]) -> list[float]:
    """The weight of each fragment. Bare brackets are counted, since round ones and square ones may cross; numbers
    belong to round brackets alone, which nest, so that a stack holds their products.
    """
    powers = [0] * (count + 1)
    begins: list[list[float]] = [[] for _ in range(count + 1)]
    ends = [0] * (count + 1)
    for start, end, factor in sorted(ranges, key=lambda found: -found[1]):  # the outer ones first
        if start == end:
            continue
        if factor is None or math.isnan(factor):
            powers[start] += 1 if factor is None else -1
            powers[end] -= 1 if factor is None else -1
        else:
            begins[start].append(factor)
            ends[end] += 1
    weights: list[float] = []
    products = [1.0]
    for power, numbers, ended in zip(accumulate(powers[:count]), begins, ends, strict=False):
        del products[len(products) - ended :]
        for number in numbers:
            products.append(products[-1] * number)
        weights.append(products[-1] * STEP ** max(-STEPS_MAX, min(power, STEPS_MAX)))
    return weights


def _joined(weighed: list[Fragment], fragments: list[Fragment]) -> list[Fragment]:
    joined: list[tuple[list[str], float] | None] = []
    for (words, weight), before in zip(weighed, fragments, strict=True):
        if before is BREAK:
            joined.append(None)
        elif joined and (last := joined[-1]) is not None and last[1] == weight:
            last[0].append(words)
        else:
            joined.append(([words], weight))
    return [BREAK if part is None else ("".join(part[0]), part[1]) for part in joined] or [("", 1.0)]
