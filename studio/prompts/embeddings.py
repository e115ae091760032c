"""Which embeddings a prompt names, and which it nearly names."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SPACE, WORD = re.compile(r"\s+"), re.compile(r"\w")
PIECE = re.compile(r"\w+|[^\w\s]")
MARKED = re.compile(r"\bembedding:([\w.-]*\w)", re.IGNORECASE)
ENDINGS = (".safetensors", ".pt", ".bin")
CODE = re.compile(r"(?<![\w-])\w+(?:[-_]+\w+)*(?![\w-])")
TAG = re.compile(r"<[^<>]{1,200}>")
SHORTEST = 6  # letters of a word that is looked at for a near miss
LONG = 10  # from here on two letters may be wrong
LOOKED_AT = 200


@dataclass(frozen=True)
class Named:
    """An embedding that stands in a text: its name as in the list of names, and the characters from start to end."""

    name: str
    start: int
    end: int


@dataclass(frozen=True)
class NearMiss:
    """A word that looks like an embedding's name, and the name that it may have meant; "" where none is near."""

    word: str
    name: str = ""

    @property
    def sentence(self) -> str:
        """What to tell a person."""
        asked = f"; did you mean {self.name}?" if self.name else "."
        return f"No embedding is called {self.word}{asked}"


def find_embeddings(text: str, names: Iterable[str]) -> list[Named]:
    """The embeddings that a text names, from left to right.

    A name counts where it stands as words of its own, in any case; of several that begin at one place the longest.
    The form embedding:name, with or without the ending of its file, counts as a whole or not at all.
    Source: AUTOMATIC1111, modules/textual_inversion, find_embedding_at_position; ComfyUI for the form with a colon.
    """
    begun = _by_first_piece(names)
    found: list[Named] = []
    end = 0
    for piece in PIECE.finditer(text):
        if piece.start() < end:
            continue
        marked = MARKED.match(text, piece.start())
        named = _marked(text, marked, begun) if marked else _plain(text, piece.start(), piece[0], begun)
        if named is not None:
            found.append(named)
        end = named.end if named else marked.end() if marked else end
    return found


def near_misses(text: str, names: Sequence[str]) -> list[NearMiss]:
    """Words that no embedding is called, but nearly: those with a hyphen, an underscore or a digit that are one letter
    away from a name, of ten letters and more two; and every unknown name in the form embedding:name.

    Ordinary words and <network:tags> are passed over.
    """
    text = TAG.sub(lambda match: " " * len(match[0]), text)
    taken = find_embeddings(text, names)
    found: dict[str, NearMiss] = {}
    for match in MARKED.finditer(text):
        if not _within(match, taken):
            word = _without_ending(match[1])
            found[word] = NearMiss(word, _nearest(word, names))
    text = MARKED.sub(lambda match: " " * len(match[0]), text)
    words = {match[0]: match for match in CODE.finditer(text) if _is_code(match[0]) and not _within(match, taken)}
    for match in list(words.values())[:LOOKED_AT]:
        if name := _nearest(match[0], names):
            found[match[0]] = NearMiss(match[0], name)
    return list(found.values())


def _by_first_piece(names: Iterable[str]) -> dict[str, list[str]]:
    """Names by the word that they begin with, the longest first."""
    begun: dict[str, list[str]] = {}
    for name in sorted(names, key=len, reverse=True):
        if first := PIECE.match(name.strip()):
            begun.setdefault(first[0].lower(), []).append(name)
    return begun


def _plain(text: str, start: int, piece: str, begun: dict[str, list[str]]) -> Named | None:
    for name in begun.get(piece.lower(), ()):
        end = _end_of(name, text, start)
        if end and not WORD.match(text, end):
            return Named(name, start, end)
    return None


def _end_of(name: str, text: str, start: int) -> int:
    """Where the name ends that begins there, 0 if it does not; spaces in it may be of any sort."""
    first, *more = name.split()
    end = start + len(first)
    if text[start:end].lower() != first.lower():
        return 0
    for word in more:
        space = SPACE.match(text, end)
        start = space.end() if space else end
        end = start + len(word)
        if not space or text[start:end].lower() != word.lower():
            return 0
    return end


def _marked(text: str, match: re.Match[str], begun: dict[str, list[str]]) -> Named | None:
    first = PIECE.match(match[1])
    named = _plain(text, match.start(1), first[0], begun) if first else None
    if named is None:
        return None
    ending = next((len(e) for e in ENDINGS if text[named.end : named.end + len(e)].lower() == e), 0)
    whole = named.end + ending >= match.end()
    return Named(named.name, match.start(), named.end + ending) if whole else None


def _without_ending(word: str) -> str:
    return next((word[: -len(e)] for e in ENDINGS if word.lower().endswith(e)), word)


def _within(match: re.Match[str], taken: Iterable[Named]) -> bool:
    return any(named.start <= match.start() and match.end() <= named.end for named in taken)


def _is_code(word: str) -> bool:
    """Whether it is no ordinary word: they have no digits beside their letters, no hyphens and no underscores."""
    mixed = any(c.isdigit() for c in word) and any(c.isalpha() for c in word)
    return len(word) >= SHORTEST and (mixed or "-" in word or "_" in word)


def _nearest(word: str, names: Iterable[str]) -> str:
    """The name that is nearest to a word, if it is near; "" if none is."""
    limit = 2 if len(word) >= LONG else 1
    rated = ((_distance(word.lower(), name.lower(), limit), name) for name in names)
    return min(((far, name) for far, name in rated if far <= limit), default=(0, ""))[1]


def _distance(a: str, b: str, limit: int) -> int:
    """How many letters must be put in, left out or changed to get from one to the other; limit + 1 for more."""
    if abs(len(a) - len(b)) > limit:
        return limit + 1
    row = list(range(len(b) + 1))
    for i, letter in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (letter != other))
        if min(row) > limit:
            return limit + 1
    return row[-1]
