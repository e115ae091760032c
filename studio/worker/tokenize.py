"""How a prompt is read: its tokens, windows and weights at each step, for a person to look at."""

import traceback
from functools import lru_cache
from pathlib import Path
from typing import Any

from studio.adapters.bundled import bundled_in
from studio.adapters.embeddings import read_embedding
from studio.engine.prompt import Reader
from studio.engine.sources import open_checkpoint
from studio.engine.weights import open_weights
from studio.errors import StudioError
from studio.messages import ModelLocation, Tokenize, Tokenized
from studio.prompts.attention import parse_attention
from studio.prompts.chunks import Cutter, Token
from studio.prompts.embeddings import find_embeddings
from studio.prompts.script import Line, read_script

BUGS = (RuntimeError, ValueError, TypeError, KeyError, AttributeError, OSError, ArithmeticError, MemoryError)
SPANS_MAX, TOKENS_MAX = 40, 1000  # of a line, and of a span: what is more is counted alone


def tokenize(question: Tokenize) -> Tokenized:
    """The answer to a question; never raises what a file or a tokenizer may raise."""
    try:
        return Tokenized(question.id, read_prompt(question))
    except StudioError as error:
        return Tokenized(question.id, message=str(error), hint=error.hint)
    except BUGS as bug:
        reason = f"The prompt could not be read ({type(bug).__name__}: {bug})."
        return Tokenized(
            question.id, message=reason[:500], hint="logs/studio.log has the details.", detail=traceback.format_exc()
        )


def read_prompt(question: Tokenize) -> dict[str, Any]:
    """How the first text encoder reads it, as plain values.

    {steps, window: words that fit one, lines: [{negative, weight, more: spans that are left out,
    spans: [{first, last: steps, text, tokens: how many, windows: [[{text, weight, embedding: its name or ""}]]}]}]}.
    The vectors of an embedding are one entry with `vectors`, their number. The last line is the negative prompt's.
    regions: a line for what each says; inside: the embeddings inside of LoRAs that any of it names.
    Raises: StudioError, if the checkpoint or an embedding cannot be read.
    """
    place = question.checkpoint
    reader = _reader(place.name, place.path, place.kind, place.base)
    inside = _inside(question)
    counts = inside | {name: _vectors(name, location) for name, location in question.embeddings.items()}
    cutter = reader.cutter(counts)
    script = read_script(question.prompt, question.negative_prompt, question.steps)
    lines = [_line(line, reader, cutter) for line in script.told]
    lines.append(_line(script.untold, reader, cutter) | {"negative": True})
    regions = [_line(read_script(words, "", question.steps).told[0], reader, cutter) for words in question.regions]
    texts = (question.prompt, question.negative_prompt, *question.regions)
    named = {found.name: None for text in texts for found in find_embeddings(text, inside)}
    view = {"steps": question.steps, "window": cutter.size, "lines": lines}
    return view | {"regions": regions, "inside": [*named]}


@lru_cache(maxsize=4)
def _reader(name: str, path: str, kind: str, base: str) -> Reader:
    """The checkpoint's first tokenizer; no tensor is read."""
    return Reader(open_checkpoint(ModelLocation(name, "", path, kind, base)).tokenizer(), None)


def _vectors(name: str, location: ModelLocation) -> int:
    found = read_embedding(open_weights(Path(location.path), location.name), name)
    return max(len(rows) for rows in found.vectors.values())


def _inside(question: Tokenize) -> dict[str, int]:
    """How many vectors each embedding inside of a LoRA has, the first LoRA's before others'."""
    found: dict[str, int] = {}
    for location in question.inside:
        bundled, _ = bundled_in(open_weights(Path(location.path), location.name))
        for name, one in bundled.items():
            found.setdefault(name, max(shape[0] if len(shape) > 1 else 1 for shape in one.shapes.values()))
    return found


def _line(line: Line, reader: Reader, cutter: Cutter) -> dict[str, Any]:
    firsts = [1, *(last + 1 for last, _ in line.spans)]
    spans = [
        {"first": first, "last": last, "text": text, **_windows(text, reader, cutter)}
        for first, (last, text) in zip(firsts, line.spans[:SPANS_MAX], strict=False)
    ]
    return {"negative": False, "weight": line.weight, "spans": spans, "more": len(line.spans) - len(spans)}


def _windows(text: str, reader: Reader, cutter: Cutter) -> dict[str, Any]:
    windows = cutter.cut(parse_attention(text))
    shown: list[list[dict[str, Any]]] = []
    left = TOKENS_MAX
    for window in windows:
        if left > 0:
            shown.append(_chips(window[:left], reader))
            left -= len(window)
    return {"windows": shown, "tokens": sum(len(window) for window in windows)}


def _chips(window: list[Token], reader: Reader) -> list[dict[str, Any]]:
    chips: list[dict[str, Any]] = []
    for token in window:
        if token.embedding and token.row and chips:
            chips[-1]["vectors"] += 1
            continue
        text = token.embedding or reader.tokenizer.decode([token.id]).strip()
        chip = {"text": text, "weight": round(token.weight, 4), "embedding": token.embedding}
        chips.append(chip | ({"vectors": 1} if token.embedding else {}))
    return chips
