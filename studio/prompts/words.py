"""Which words of a prompt a small checkpoint was never shown."""

import re
from collections.abc import Iterable

from studio.prompts.comments import comments
from studio.prompts.embeddings import find_embeddings

APOSTROPHE = "\N{RIGHT SINGLE QUOTATION MARK}"
WORD = re.compile(rf"(?<!\w)[^\W\d_]+(?:['{APOSTROPHE}-][^\W\d_]+)*(?!\w)")
NETWORK = re.compile(r"<[^<>]{1,200}>")
WILDCARD = re.compile(r"__(?! )(?:(?!__)[\w ./\\*-]){1,120}(?<! )__")
JOINER = re.compile(r"\d\$\$[^$|{}]{0,100}\$\$")
OPERATORS = {"BREAK", "AND"}


def unknown_words(prompt: str, known: Iterable[str], embeddings: Iterable[str] = ()) -> list[tuple[str, int, int]]:
    """The words that `known` does not hold, each with its start and end in the prompt.

    Case, punctuation, weights such as (word:1.2), steps such as [one:another:0.5], numbers, <network:tags>,
    __wildcards__, what joins several options of a variant, comments, the names of embeddings and the operators BREAK
    and AND are passed over. A known phrase such as "light blue" makes each of its words known; so do the parts of a
    hyphenated word.
    """
    shown = {word for phrase in known for word in _parts(phrase.lower())}
    passed = [match.span() for syntax in (NETWORK, WILDCARD, JOINER) for match in syntax.finditer(prompt)]
    passed += comments(prompt) + [(named.start, named.end) for named in find_embeddings(prompt, embeddings)]
    text = _without(prompt, passed)
    return [
        (match[0], match.start(), match.end())
        for match in WORD.finditer(text)
        if match[0] not in OPERATORS and not _is_known(match[0].lower().replace(APOSTROPHE, "'"), shown)
    ]


def _without(text: str, passed: Iterable[tuple[int, int]]) -> str:
    """The text with blanks in these places."""
    letters = list(text)
    for start, end in passed:
        letters[start:end] = " " * (end - start)
    return "".join(letters)


def _is_known(word: str, shown: set[str]) -> bool:
    return word in shown or all(part in shown for part in word.removesuffix("'s").split("-"))


def _parts(phrase: str) -> list[str]:
    words = WORD.findall(phrase)
    return [*words, *(part for word in words for part in word.split("-"))]
