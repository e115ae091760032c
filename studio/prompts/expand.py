"""Templates to prompts: one of {these|those}, and a line of __a file__."""

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from random import Random

from studio.prompts.wildcards import Lookup, no_wildcards

TOKEN = re.compile(r"\\.|__(?! )((?:(?!__)[\w ./\\*-]){1,120})(?<! )__|[{}|]|[^\\{}|_]+|[\\_]", re.DOTALL)
COUNT = re.compile(r"\s*+(?:(\d{1,4})(-)?(\d{1,4})?|-(\d{1,4}))\$\$(?:([^$]*+)\$\$)?")
CHANCE = re.compile(r"\s*+(\d{1,6}(?:\.\d{1,6})?)::")
DEPTH, DRAWS, LONGEST = 20, 10_000, 400_000


def expand(template: str, seed: int | str, wildcards: Lookup = no_wildcards) -> tuple[str, list[str]]:
    r"""The template with everything drawn, and sentences on what could not be.

    Syntax: `{a|b|c}` is one of them; `{2$$a|b|c}` two that differ, joined by ", "; `{1-2$$ and $$a|b|c}` one or two,
    joined by " and "; `{3::a|b}` takes a three times as often. Options may be empty, and nest. `__name__` is a line of
    that file, which may hold all of this again; `{2$$__name__}` two lines. Braces without a bar or `$$`, those that do
    not pair, and those after a backslash are text. A file that is missing leaves its name as it is written; one that
    comes to hold itself is left out there.

    Args:
        seed: The same seed draws the same, on every machine.
        wildcards: Gives the lines of a file, or None.
    Source: adieyal/sd-dynamic-prompts, for the syntax.
    """
    drawing = _Drawing(Random(f"{seed}"), wildcards)
    return drawing.expanded(template, ()), list(drawing.notes)


@dataclass
class _Brace:
    """Braces that wait for their end: the pieces of each option so far."""

    options: list[list[str]] = field(default_factory=lambda: [[]])
    done: bool = False


@dataclass
class _Drawing:
    """One expansion. notes: sentences, each once; drawn: lines of files so far; length: characters of them."""

    random: Random
    wildcards: Lookup
    notes: dict[str, None] = field(default_factory=dict[str, None])
    drawn: int = 0
    length: int = 0

    def expanded(self, template: str, within: tuple[str, ...]) -> str:
        """The template's text. within: the files that its words come from, the outermost first."""
        stack = [_Brace()]
        for match in TOKEN.finditer(template):
            token, top = match[0], stack[-1]
            if token == "{":
                stack.append(_Brace())
            elif token == "}" and len(stack) > 1:
                stack.pop()
                stack[-1].options[-1].append(self._chosen(top))
            elif token == "|" and len(stack) > 1:
                top.options.append([])
            elif match[1] is not None:
                words = self._wildcard(match, top, within)
                top.options[-1].append(words)
            else:
                top.options[-1].append(token)
        return "{".join("|".join("".join(option) for option in brace.options) for brace in stack)

    def _chosen(self, brace: _Brace) -> str:
        options = ["".join(option) for option in brace.options]
        if brace.done:
            return options[0]
        count = COUNT.match(options[0])
        if count is None and len(options) == 1:
            return "{" + options[0] + "}"
        if count is not None:
            options[0] = options[0][count.end() :]
        return self._several(options, count)

    def _several(self, options: Sequence[str], count: re.Match[str] | None) -> str:
        """Options that differ, as many as were asked for."""
        wanted, joiner = _wanted(count, len(options), self.random)
        left = [_weighed(option) for option in options]
        taken: list[str] = []
        while left and len(taken) < wanted:
            sums = list(accumulate(chance for chance, _ in left))
            place = bisect_right(sums, self.random.random() * sums[-1])
            taken.append(left.pop(min(place, len(left) - 1))[1])
        return joiner.join(taken)

    def _wildcard(self, match: re.Match[str], brace: _Brace, within: tuple[str, ...]) -> str:
        name, written = match[1], match[0]
        if name.lower() in within or len(within) >= DEPTH:
            self.notes[f"The wildcard file {name} comes to hold itself; {written} was left out there."] = None
            return ""
        lines = self.wildcards(name)
        if lines is None:
            self.notes[f"There is no wildcard file {name}; {written} was left as it is."] = None
            return written
        closes = match.string[match.end() : match.end() + 1] == "}" and len(brace.options) == 1
        count = COUNT.fullmatch("".join(brace.options[0])) if closes else None
        if count is None:
            drawn = self._several(lines, None)
        else:
            drawn, brace.options, brace.done = self._several(lines, count), [[]], True
        self.drawn, self.length = self.drawn + 1, self.length + len(drawn)
        if self.drawn > DRAWS or self.length > LONGEST:
            self.notes["The wildcards hold too much for one prompt; the rest was left out."] = None
            return ""
        return self.expanded(drawn, (*within, name.lower()))


def _wanted(count: re.Match[str] | None, there: int, random: Random) -> tuple[int, str]:
    """How many to take, and what stands between them."""
    if count is None:
        return 1, ""
    first, dash, last, most = (count[i] for i in range(1, 5))
    low = int(first) if first else 0
    high = int(most or last or (there if dash else low))
    low, high = sorted((min(low, there), min(high, there)))
    return low + int(random.random() * (high - low + 1)), ", " if count[5] is None else count[5]


def _weighed(option: str) -> tuple[float, str]:
    chance = CHANCE.match(option)
    return (1.0, option) if chance is None else (float(chance[1]), option[chance.end() :])
