"""CLIP's tokenizer from the vocabulary that open_clip_torch brings along as data; open_clip itself is not imported."""

import gzip
import importlib.util
from functools import lru_cache
from pathlib import Path

from transformers import CLIPTokenizer

from studio.errors import StartError

VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"
MERGES = 49152 - 256 - 2  # what CLIP takes of the lines in the file
START, END = "<|startoftext|>", "<|endoftext|>"
OPEN_CLIP_PAD = "!"  # id 0
WINDOW = 77


@lru_cache(maxsize=2)
def clip_tokenizer(*, pads_with_end: bool) -> CLIPTokenizer:
    """The tokenizer of CLIP-L, which pads with its end token, or of open_clip's models, which pad with id 0.

    One for all checkpoints: nothing may be added to it.
    Raises: StartError, if open_clip_torch is not installed.
    """
    vocabulary, merges = read_vocabulary()
    return CLIPTokenizer(
        vocab=vocabulary,
        merges=merges,
        bos_token=START,
        eos_token=END,
        unk_token=END,
        pad_token=END if pads_with_end else OPEN_CLIP_PAD,
        model_max_length=WINDOW,
    )


@lru_cache(maxsize=1)
def read_vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Ids by token, and the merges in order; read once. Raises: StartError.

    Source: Radford et al., arXiv:2103.00020; the order of the ids is that of the authors' simple_tokenizer.py.
    """
    with gzip.open(_file(), "rt", encoding="utf-8") as text:
        lines = text.read().split("\n")[1 : MERGES + 1]
    merges = [(first, second) for first, second in map(str.split, lines)]
    letters = byte_letters()
    tokens = [*letters, *(letter + "</w>" for letter in letters), *map("".join, merges), START, END]
    return {token: number for number, token in enumerate(tokens)}, merges


def byte_letters() -> list[str]:
    """A printable letter for each of the 256 bytes, as in GPT-2; those that print come first, as themselves."""
    printing = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [*map(chr, printing), *(chr(256 + number) for number in range(256 - len(printing)))]


def _file() -> Path:
    """Where the vocabulary lies."""
    found = importlib.util.find_spec("open_clip")
    if found is None or not found.submodule_search_locations:
        raise StartError("The package open_clip_torch is not installed.", hint="Run: python launch.py")
    return Path(found.submodule_search_locations[0]) / VOCABULARY
