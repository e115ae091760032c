"""Words to embeddings: prompts longer than the encoder's window are read window by window."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTokenizer

WINDOWS_MAX = 32
CACHED = 64


@dataclass(frozen=True)
class Embedding:
    """What a prompt says. tokens: (1, windows * window, width); pooled: (1, width), which only SDXL has."""

    tokens: Tensor
    pooled: Tensor | None = None


@dataclass(frozen=True)
class Reader:
    """A tokenizer and its text encoder, a CLIPTextModel or a CLIPTextModelWithProjection."""

    tokenizer: CLIPTokenizer
    model: Any

    @property
    def window(self) -> int:
        """Tokens that are read at once, begin and end included."""
        return self.tokenizer.model_max_length

    def tokens(self, text: str) -> list[int]:
        """The text's tokens, however many, without begin and end."""
        return self.tokenizer(text, add_special_tokens=False, truncation=False, verbose=False).input_ids

    def rows(self, text: str, windows: int) -> Tensor:
        """(windows, window) ids: begin, words, end, and padding."""
        words, size = self.tokens(text), self.window
        start, end, pad = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id, self.tokenizer.pad_token_id)
        parts = [words[i * (size - 2) : (i + 1) * (size - 2)] for i in range(windows)]
        return torch.tensor([([start, *part, end] + [pad] * size)[:size] for part in parts], device=self.model.device)


@dataclass
class PromptEncoder:
    """Encodes and remembers the latest prompts.

    Fields:
        readers: One text encoder, or SDXL's two, whose widths are put side by side.
        key: Names the weights, so that another checkpoint never answers.
        large: As SDXL does it: the last layer but one without its norm, and a pooled embedding of the second encoder;
            an empty negative prompt is all zeros.
    """

    readers: tuple[Reader, ...]
    key: str
    large: bool = False
    cache: OrderedDict[tuple[str, str, int, int], Embedding] = field(default_factory=OrderedDict)

    @property
    def text_encoders(self) -> tuple[Any, ...]:
        """The models of the readers."""
        return tuple(reader.model for reader in self.readers)

    def encode_pair(self, prompt: str, negative: str, clip_skip: int) -> tuple[Embedding, Embedding, list[str]]:
        """Embeddings of both, equally long, and sentences on what was left out."""
        windows = max(self._windows(prompt), self._windows(negative))
        notes = []
        if windows > WINDOWS_MAX:
            words = WINDOWS_MAX * (self.readers[0].window - 2)
            notes.append(f"The prompt is longer than {words} tokens; the rest was left out.")
            windows = WINDOWS_MAX
        told, untold = self.encode(prompt, clip_skip, windows), self.encode(negative, clip_skip, windows)
        if self.large and not negative:
            assert untold.pooled is not None
            untold = Embedding(torch.zeros_like(untold.tokens), torch.zeros_like(untold.pooled))
        return told, untold, notes

    def encode(self, text: str, clip_skip: int, windows: int = 1) -> Embedding:
        """One prompt. clip_skip: how many of the last layers are skipped, as in diffusers."""
        key = (self.key, text, clip_skip, windows)
        if key not in self.cache:
            self.cache[key] = self._encode(text, clip_skip, windows)
            while len(self.cache) > CACHED:
                self.cache.popitem(last=False)
        self.cache.move_to_end(key)
        return self.cache[key]

    def _windows(self, text: str) -> int:
        return max(1, *(-(-len(reader.tokens(text)) // (reader.window - 2)) for reader in self.readers))

    def _encode(self, text: str, clip_skip: int, windows: int) -> Embedding:
        if not self.large:
            (reader,) = self.readers
            return Embedding(_in_a_row(_normed(reader.model, reader.rows(text, windows), clip_skip)))
        outs = [r.model(r.rows(text, windows), output_hidden_states=True) for r in self.readers]
        states = [out.hidden_states[max(0, len(out.hidden_states) - 2 - clip_skip)] for out in outs]
        return Embedding(_in_a_row(torch.cat(states, 2)), outs[-1].text_embeds[:1])


def _in_a_row(states: Tensor) -> Tensor:
    """(windows, window, width) to (1, windows * window, width)."""
    return states.reshape(1, -1, states.shape[2])


def _normed(model: Any, ids: Tensor, clip_skip: int) -> Tensor:
    if not clip_skip:
        return model(ids)[0]
    states = model(ids, output_hidden_states=True).hidden_states
    inner = getattr(model, "text_model", model)
    return inner.final_layer_norm(states[max(0, len(states) - 1 - clip_skip)])
