"""What in a prompt is read in another way than it was perhaps meant, as sentences."""

import re
from collections.abc import Iterator

from studio.prompts.compose import AND

TOKEN = re.compile(r"\\.|[\[\]():|]|<\w+:(?![^<>]*>)|[^\\\[\]():|<]+|.", re.DOTALL)
NUMBER = re.compile(r"\s*+[+-]?[.\d]+\s*+")
PAIRS = {")": "(", "]": "["}
SHOWN = 3


def complaints(text: str, *, negative: bool = False) -> list[str]:
    """Sentences on brackets that do not pair, weights that are no numbers, edits that name no step, tags that never
    end, and in a negative prompt on AND; at most three, and how many more there are.

    Nothing is refused: what is complained of is read as studio.prompts.attention and .schedule say.
    """
    found = [*_brackets(text)]
    if negative and AND.search(text):
        found.append("AND joins nothing in a negative prompt; it is read as a word.")
    more = len(found) - SHOWN
    return [*found[:SHOWN], *([f"The prompt has {more} more places like these."] if more > 0 else [])]


def _brackets(text: str) -> Iterator[str]:
    """Complaints from left to right, with what stands there."""
    opened: list[tuple[str, int, list[int]]] = []  # the bracket, where it is, and the colons and bars in it
    for match in TOKEN.finditer(text):
        token, place = match[0], match.start()
        if token in ("(", "["):
            opened.append((token, place, []))
        elif token in (":", "|") and opened:
            opened[-1][2].append(place)
        elif token in PAIRS:
            if opened and opened[-1][0] == PAIRS[token]:
                yield from _inside(text, opened.pop(), place)
            elif any(bracket == PAIRS[token] for bracket, _, _ in opened[-8:]):
                yield f"{_shown(text, opened[-1][1])} is closed by a bracket of the other kind."
                opened.clear()
            elif not _is_face(text, place):
                yield f"The {token} in {_shown(text, max(0, place - 20))} closes nothing; it is read as text."
        elif token[0] == "<" and len(token) > 1:
            yield f"{_shown(text, place)} is a tag that never ends with >; it is read as text."
    if opened:
        bracket, place, _ = opened[0]
        yield f"The {bracket} in {_shown(text, place)} is never closed; it reaches to the end of the prompt."


def _inside(text: str, opened: tuple[str, int, list[int]], end: int) -> Iterator[str]:
    bracket, start, marks = opened
    if not marks:
        return
    last, shown = text[marks[-1] + 1 : end][:60], _shown(text, start)
    bars = sum(text[mark] == "|" for mark in marks)
    if bracket == "(":
        is_weight = _is_number(last)
        if text[marks[-1]] == ":" and not is_weight and re.search(r"\d", last):
            yield f"The weight in {shown} is no number; its words count 1.1 times."
    elif bars and bars < len(marks):
        yield f"{shown} has both : and |, so it neither changes nor takes turns; it is read as text."
    elif not bars and not _is_number(last):
        yield f"{shown} names no step to change at, as in [cat:dog:0.5]; it is read as text."
    elif not bars and len(marks) > 2:
        yield f"{shown} has too many colons to change at a step; it is read as text."


def _is_number(written: str) -> bool:
    try:
        float(written)
    except ValueError:
        return False
    return NUMBER.fullmatch(written) is not None


def _is_face(text: str, place: int) -> bool:
    """Whether the bracket ends a face such as :) or ;-)."""
    return text[max(0, place - 1) : place] in (":", ";", "=") or text[max(0, place - 2) : place] in (":-", ";-")


def _shown(text: str, start: int) -> str:
    """The text from there on, shortened, in quotes."""
    there = text[start : start + 31]
    return f"“{there[:30].strip()}{'…' if len(there) > 30 else ''}”"
