"""Words to embeddings: prompts longer than the encoder's window are read window by window."""

from collections import OrderedDict
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from studio.engine import torchvision_ops  # noqa: F401  (before transformers)

WINDOWS_MAX = 32
CACHED = 64


@dataclass
class PromptEncoder:
    """Encodes and remembers the latest prompts. `key` names the weights, so that another checkpoint never answers."""

    tokenizer: CLIPTokenizer
    text_encoder: CLIPTextModel
    key: str
    cache: OrderedDict[tuple[str, str, int, int], Tensor] = field(default_factory=OrderedDict)

    def encode_pair(self, prompt: str, negative: str, clip_skip: int) -> tuple[Tensor, Tensor, list[str]]:
        """Embeddings (1, n * window, width) of both, equally long, and sentences on what was left out."""
        windows = max(self._windows(prompt), self._windows(negative))
        notes = []
        if windows > WINDOWS_MAX:
            words = WINDOWS_MAX * (self.tokenizer.model_max_length - 2)
            notes.append(f"The prompt is longer than {words} tokens; the rest was left out.")
            windows = WINDOWS_MAX
        return self.encode(prompt, clip_skip, windows), self.encode(negative, clip_skip, windows), notes

    def encode(self, text: str, clip_skip: int, windows: int = 1) -> Tensor:
        """(1, windows * window, width). clip_skip: how many of the last layers are skipped, as in diffusers."""
        key = (self.key, text, clip_skip, windows)
        if key not in self.cache:
            self.cache[key] = self._encode(text, clip_skip, windows)
            while len(self.cache) > CACHED:
                self.cache.popitem(last=False)
        self.cache.move_to_end(key)
        return self.cache[key]

    def _windows(self, text: str) -> int:
        return max(1, -(-len(self._tokens(text)) // (self.tokenizer.model_max_length - 2)))

    def _tokens(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False, truncation=False, verbose=False).input_ids

    def _encode(self, text: str, clip_skip: int, windows: int) -> Tensor:
        size = self.tokenizer.model_max_length
        tokens = self._tokens(text)
        start, end, pad = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id, self.tokenizer.pad_token_id)
        rows = []
        for window in range(windows):
            words = tokens[window * (size - 2) : (window + 1) * (size - 2)]
            rows.append(([start, *words, end] + [pad] * size)[:size])
        ids = torch.tensor(rows, device=self.text_encoder.device)
        embeddings = self._hidden(ids, clip_skip)
        return embeddings.reshape(1, windows * size, -1)

    def _hidden(self, ids: Tensor, clip_skip: int) -> Tensor:
        if not clip_skip:
            return self.text_encoder(ids)[0]
        states = self.text_encoder(ids, output_hidden_states=True).hidden_states
        inner = getattr(self.text_encoder, "text_model", self.text_encoder)
        return inner.final_layer_norm(states[max(0, len(states) - 1 - clip_skip)])
