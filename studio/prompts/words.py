"""Which words of a prompt a small checkpoint was never shown."""

import re
from collections.abc import Iterable

APOSTROPHE = "\N{RIGHT SINGLE QUOTATION MARK}"
WORD = re.compile(rf"(?<!\w)[^\W\d_]+(?:['{APOSTROPHE}-][^\W\d_]+)*(?!\w)")
NETWORK = re.compile(r"<[^<>]{1,200}>")
OPERATORS = {"BREAK", "AND"}


def unknown_words(prompt: str, known: Iterable[str]) -> list[tuple[str, int, int]]:
    """The words that `known` does not hold, each with its start and end in the prompt.

    Case, punctuation, weights such as (word:1.2), numbers, <network:tags> and the operators BREAK and AND are passed
    over. A known phrase such as "light blue" makes each of its words known; so do the parts of a hyphenated word.
    """
    shown = {word for phrase in known for word in _parts(phrase.lower())}
    text = NETWORK.sub(lambda match: " " * len(match[0]), prompt)
    return [
        (match[0], match.start(), match.end())
        for match in WORD.finditer(text)
        if match[0] not in OPERATORS and not _is_known(match[0].lower().replace(APOSTROPHE, "'"), shown)
    ]


def _is_known(word: str, shown: set[str]) -> bool:
    return word in shown or all(part in shown for part in word.removesuffix("'s").split("-"))


def _parts(phrase: str) -> list[str]:
    words = WORD.findall(phrase)
    return [*words, *(part for word in words for part in word.split("-"))]
