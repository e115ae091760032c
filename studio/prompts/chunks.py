"""A prompt's tokens in windows, as text encoders read them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from studio.prompts.attention import BREAK, Fragment
from studio.prompts.embeddings import find_embeddings

BACKTRACK = 20  # A1111's default
WEIGHT_MAX = 100.0  # what is heavier leaves nothing of the other words, and soon nothing of the numbers


@dataclass(frozen=True)
class Token:
    """One place of a window: a word's id, or one vector of an embedding (`row` of those called `embedding`)."""

    id: int
    weight: float = 1.0
    embedding: str = ""
    row: int = 0


@dataclass(frozen=True)
class Cutter:
    """Cuts prompts into windows.

    Fields:
        tokenize: Text to ids, however many, without begin and end.
        size: Words that fit a window.
        filler: The id that stands where an embedding's vectors go.
        embeddings: How many vectors each has, by name.
    """

    tokenize: Callable[[str], Sequence[int]]
    size: int
    filler: int
    embeddings: Mapping[str, int] = field(default_factory=dict[str, int])

    def cut(self, fragments: Sequence[Fragment]) -> list[list[Token]]:
        """Windows of at most `size` tokens each, at least one; BREAK ends one.

        Where a word is the first that does not fit, and a comma stands at most 20 tokens before it, what follows the
        comma moves to the next window with it. The vectors of an embedding stay together, if they fit one window.
        Weights are kept within -100 to 100.
        Source: AUTOMATIC1111/stable-diffusion-webui, modules/sd_hijack_clip.py, tokenize_line.
        """
        windows = _Windows(self.size, tuple(self.tokenize(",")))
        for fragment in fragments:
            if fragment is BREAK:
                windows.end()
                continue
            words, weight = fragment
            weight = max(-WEIGHT_MAX, min(weight, WEIGHT_MAX))
            for piece in self._pieces(words):
                if isinstance(piece, str):
                    for token in self.tokenize(piece):
                        windows.add(Token(token, weight))
                else:
                    windows.add_together([Token(self.filler, weight, *place) for place in piece])
        return windows.finished()

    def _pieces(self, words: str) -> list[str | list[tuple[str, int]]]:
        """The words, and between them the places of embeddings' vectors as (name, row)."""
        if not self.embeddings:
            return [words]
        pieces: list[str | list[tuple[str, int]]] = []
        end = 0
        for named in find_embeddings(words, self.embeddings):
            pieces.append(words[end : named.start])
            pieces.append([(named.name, row) for row in range(self.embeddings[named.name])])
            end = named.end
        return [*pieces, words[end:]]


@dataclass
class _Windows:
    """Windows that fill up. comma: its one token; of several, there is no rule for commas."""

    size: int
    comma: tuple[int, ...]
    full: list[list[Token]] = field(default_factory=list[list[Token]])
    open: list[Token] = field(default_factory=list[Token])
    last_comma: int = -1

    def end(self) -> None:
        """Begin the next window."""
        self.full.append(self.open)
        self.open, self.last_comma = [], -1

    def add(self, token: Token) -> None:
        """The next word."""
        if (token.id,) == self.comma:
            self.last_comma = len(self.open)
        elif len(self.open) == self.size and self.last_comma >= 0 and self.size - self.last_comma <= BACKTRACK:
            moved = self.open[self.last_comma + 1 :]
            del self.open[self.last_comma + 1 :]
            self.end()
            self.open = moved
        if len(self.open) == self.size:
            self.end()
        self.open.append(token)

    def add_together(self, tokens: Sequence[Token]) -> None:
        """Tokens that no window's end is to part."""
        if len(self.open) + len(tokens) > self.size and self.open:
            self.end()
        for token in tokens:
            if len(self.open) == self.size:
                self.end()
            self.open.append(token)

    def finished(self) -> list[list[Token]]:
        """All windows."""
        return [*self.full, self.open] if self.open or not self.full else self.full
