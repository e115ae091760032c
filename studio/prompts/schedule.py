"""Words that change from step to step: [from:to:when] and [one|another]."""

import math
import re
from dataclasses import dataclass, field
from typing import TypeAlias

TOKEN = re.compile(r"\\.|[\[\]():|]|[^\\\[\]():|]+|\\", re.DOTALL)
WHEN = re.compile(r"\s*+([+-]?(?:\d++\.?\d*+|\.\d++)(?:[eE][+-]?\d++)?)\s*+")
Span = tuple[int, str]
_Piece: TypeAlias = "str | _Edit | _Turns | list[_Piece]"


@dataclass
class _Edit:
    """Words until the end of step `when`, and others after it; when is counted from 1."""

    before: _Piece
    after: _Piece
    when: int


@dataclass
class _Turns:
    """Words that take turns, one of them at each step."""

    options: list[_Piece]


@dataclass
class _Open:
    """A bracket that waits for its end: what stands in it so far, parted at colons and bars."""

    bracket: str
    marks: str = ""
    parts: list[list[_Piece]] = field(default_factory=lambda: [[]])


@dataclass(frozen=True)
class _Clock:
    """What a `when` counts in. earlier: steps of the pass before this one, which a person's numbers begin with."""

    steps: int
    earlier: int = 0

    def step(self, written: str) -> int:
        """The last step of the words before the change; below 1 they are never said."""
        value = float(written)
        if "." in written:
            value = (value - (1 if self.earlier else 0)) * self.steps
        else:
            value -= self.earlier
        return self.steps if math.isinf(value) and value > 0 else max(-1, min(self.steps, int(max(value, -1))))


def schedule(text: str, steps: int, *, earlier: int = 0) -> list[Span]:
    r"""What is said until which step: [(last step, text)], from step 1; the last entry's step is `steps`.

    Syntax: `[from:to:when]`, `[to:when]` and `[from::when]` change their words after step `when`: a number with a point
    is a fraction of the steps, one without is a step. `[a|b|c]` takes turns, beginning with a; an option may be empty.
    They nest, and stand in attention's brackets, which are left in the text. Brackets that do not pair, or that hold
    colons in another way, are text together with all that are open around them. A backslash makes the next character
    text. Linear in the text's length, for each text that differs.

    Args:
        steps: Of this pass, from 1.
        earlier: Steps of the pass before; then fractions run from 1 to 2, and steps are counted on. 0 is the first.
    Source: AUTOMATIC1111/stable-diffusion-webui v1.10.1, modules/prompt_parser.py, by its results. There a bar
    outside of square brackets switches all of this off; here it is text.
    """
    tree, changes = _parse(text, _Clock(steps, earlier))
    ends = range(1, steps + 1) if -1 in changes else sorted({steps, *(end for end in changes if 1 <= end < steps)})
    spans = [(end, _say(tree, end) if changes else text) for end in ends]
    return [span for span, after in zip(spans, [*spans[1:], None], strict=True) if after is None or span[1] != after[1]]


def _parse(text: str, clock: _Clock) -> tuple[list[_Piece], set[int]]:
    """The pieces of the text, and the steps after which something changes; -1 among them is every step."""
    root: list[_Piece] = []
    stack: list[_Open] = []
    changes: set[int] = set()
    for match in TOKEN.finditer(text):
        token = match[0]
        if token in "([":
            stack.append(_Open(token))
        elif token in ":|" and stack:
            stack[-1].marks += token
            stack[-1].parts.append([])
        elif token in ")]":
            made = _close(stack[-1], token, clock) if stack else None
            if made is None:
                _give_up(stack, root)
                root.append(token)
                continue
            stack.pop()
            (stack[-1].parts[-1] if stack else root).append(made)
            if isinstance(made, _Edit):
                changes.add(max(0, made.when))
            elif isinstance(made, _Turns):
                changes.add(-1)
        else:
            (stack[-1].parts[-1] if stack else root).append(token)
    _give_up(stack, root)
    return root, changes


def _close(opened: _Open, closer: str, clock: _Clock) -> "_Piece | None":
    """What the bracket turned out to be; None, if it is text."""
    marks, parts = opened.marks, opened.parts
    if opened.bracket == "(":
        return _as_typed(opened, ")") if closer == ")" and marks in ("", ":") else None
    if closer != "]":
        return None
    if not marks:
        return _as_typed(opened, "]")
    if set(marks) == {"|"}:
        return _Turns([*parts])
    *words, last = parts
    texts = [piece for piece in last if isinstance(piece, str)]
    written = WHEN.fullmatch("".join(texts)) if len(texts) == len(last) else None
    if written is None or marks not in (":", "::"):
        return None
    before = words[0] if len(words) == 2 else []
    return _Edit(before, words[-1], clock.step(written[1]))


def _as_typed(opened: _Open, closer: str) -> list[_Piece]:
    typed: list[_Piece] = [opened.bracket]
    for part, mark in zip(opened.parts, [*opened.marks, closer], strict=True):
        typed += [part, mark]
    return typed


def _give_up(stack: list[_Open], root: list[_Piece]) -> None:
    """Everything that is open is text."""
    for opened in stack:
        root.append(_as_typed(opened, ""))
    stack.clear()


def _say(tree: _Piece, step: int) -> str:
    """The text at a step."""
    said: list[str] = []
    waiting = [tree]
    while waiting:
        piece = waiting.pop()
        match piece:
            case str():
                said.append(piece)
            case _Edit():
                waiting.append(piece.before if step <= piece.when else piece.after)
            case _Turns():
                waiting.append(piece.options[(step - 1) % len(piece.options)])
            case _:
                waiting += reversed(piece)
    return "".join(said)
