"""Words to embeddings: prompts longer than the encoder's window are read window by window."""

import math
from collections import OrderedDict
from collections.abc import Generator, Hashable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTokenizer

from studio.engine.weighting import WEIGHTINGS, Weighed
from studio.prompts.attention import BREAK, Fragment, parse_attention
from studio.prompts.chunks import WEIGHT_MAX, Cutter, Token
from studio.prompts.embeddings import find_embeddings
from studio.prompts.script import Line, Script, read_script

WINDOWS_MAX = 32
CACHED = 64
FADED = 1e-5  # the least weight below 1 that compel counts with


@dataclass(frozen=True)
class Embedding:
    """What a prompt says. tokens: (1, windows * window, width); pooled: (1, width), which only SDXL has."""

    tokens: Tensor
    pooled: Tensor | None = None


@dataclass(frozen=True)
class Vectors:
    """A textual embedding, for one run. id: of its content; rows: (n, width) for each text encoder."""

    id: str
    rows: tuple[Tensor, ...]


@dataclass(frozen=True)
class Reading:
    """How words are read.

    Fields:
        clip_skip: How many of the last layers are skipped, as in diffusers.
        weighting: A name of WEIGHTINGS.
        embeddings: Those that prompts may name, by name. Nothing of them stays after a prompt was read.
    """

    clip_skip: int = 0
    weighting: str = "a1111"
    embeddings: Mapping[str, Vectors] = field(default_factory=dict[str, Vectors])


PLAIN = Reading()


@dataclass(frozen=True)
class Said:
    """One line of a script: its weight, and what it says until which step, from 1."""

    weight: float
    spans: Sequence[tuple[int, Embedding]]

    def at(self, step: int) -> Embedding:
        """What it says at a step, from 1."""
        return next((said for last, said in self.spans if step <= last), self.spans[-1][1])


@dataclass(frozen=True)
class Told:
    """What a generation is told at each of its steps: the lines that AND joins, and the negative prompt's.

    notes: Sentences on what was left out or changed.
    """

    steps: int
    lines: Sequence[Said]
    untold: Said
    notes: Sequence[str] = ()

    @property
    def joined(self) -> bool:
        """Whether there are several lines, which need a negative prompt to be summed against."""
        return len(self.lines) > 1


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

    def cutter(self, vectors: Mapping[str, int]) -> Cutter:
        """Cuts prompts for this reader; vectors: how many each embedding has."""
        return Cutter(self.tokens, self.window - 2, self.tokenizer.bos_token_id, vectors)

    def rows(self, windows: Sequence[Sequence[Token]]) -> Tensor:
        """(windows, window) ids: begin, words, end, and padding."""
        size = self.window
        start, end, pad = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id, self.tokenizer.pad_token_id)
        ids = [([start, *(token.id for token in words), end] + [pad] * size)[:size] for words in windows]
        return torch.tensor(ids, device=self.model.device)

    def weights(self, windows: Sequence[Sequence[Token]]) -> Tensor:
        """(windows, window), 1 for begin, end and padding."""
        size = self.window
        rows = [([1.0, *(token.weight for token in words)] + [1.0] * size)[:size] for words in windows]
        return torch.tensor(rows, device=self.model.device)

    @contextmanager
    def speaking(self, windows: Sequence[Sequence[Token]], rows: Mapping[str, Tensor]) -> Generator[None]:
        """The model with embeddings' vectors where the windows have their places, until the block ends."""
        places = [
            (window, place, rows[token.embedding][token.row])
            for window, words in enumerate(windows)
            for place, token in enumerate(words, 1)
            if token.embedding
        ]

        def put(_module: object, _ids: object, given: Tensor) -> Tensor:
            given = given.clone()
            for window, place, vector in places:
                given[window, place] = vector.to(given)
            return given

        hook = self.model.get_input_embeddings().register_forward_hook(put) if places else None
        try:
            yield
        finally:
            if hook is not None:
                hook.remove()


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
    cache: OrderedDict[Any, Embedding] = field(default_factory=OrderedDict[Any, Embedding])

    @property
    def text_encoders(self) -> tuple[Any, ...]:
        """The models of the readers."""
        return tuple(reader.model for reader in self.readers)

    def encode_script(self, prompt: str, negative: str, steps: int, reading: Reading = PLAIN) -> Told:
        """What both say at each step; all embeddings are equally long, and each text is encoded once."""
        script = read_script(prompt, negative, steps)
        texts = dict.fromkeys(script.texts())
        notes = _heavy(texts) if reading.weighting != "none" else []
        windows = max(self._windows(text, reading) for text in texts)
        if windows > WINDOWS_MAX:
            words = WINDOWS_MAX * (self.readers[0].window - 2)
            notes.append(f"The prompt is longer than {words} tokens; the rest was left out.")
            windows = WINDOWS_MAX
        made = {text: self.encode(text, reading, windows) for text in texts}
        untold = dict(made)
        if self.large and not negative:
            nothing = made[""]
            assert nothing.pooled is not None
            untold[""] = Embedding(torch.zeros_like(nothing.tokens), torch.zeros_like(nothing.pooled))
        return _told(script, steps, (made, untold), notes)

    def encode(self, text: str, reading: Reading = PLAIN, windows: int = 1) -> Embedding:
        """One prompt without AND and edits."""
        key = self._key(text, reading, windows)
        if key not in self.cache:
            self.cache[key] = self._encode(parse_attention(text), reading, windows)
            while len(self.cache) > CACHED:
                self.cache.popitem(last=False)
        self.cache.move_to_end(key)
        return self.cache[key]

    def _key(self, text: str, reading: Reading, windows: int) -> Hashable:
        named = {named.name for named in find_embeddings(text, reading.embeddings)}
        contents = tuple(sorted((name, reading.embeddings[name].id) for name in named))
        return self.key, text, reading.clip_skip, windows, reading.weighting, contents

    def _windows(self, text: str, reading: Reading) -> int:
        fragments = parse_attention(text)
        return max(len(self._cut(number, fragments, reading)) for number in range(len(self.readers)))

    def _cut(self, number: int, fragments: Sequence[Fragment], reading: Reading) -> list[list[Token]]:
        """The windows of one reader."""
        vectors = {name: len(found.rows[number]) for name, found in reading.embeddings.items()}
        return self.readers[number].cutter(vectors).cut(fragments)

    def _encode(self, fragments: Sequence[Fragment], reading: Reading, windows: int) -> Embedding:
        read = [self._read(number, fragments, reading, windows) for number in range(len(self.readers))]
        states, pooled = torch.cat([one for one, _ in read], 2), read[-1][1]
        said = Embedding(states.reshape(1, -1, states.shape[2]), pooled)
        return self._faded(said, fragments, reading, windows) if reading.weighting == "compel" else said

    def _read(
        self, number: int, fragments: Sequence[Fragment], reading: Reading, windows: int
    ) -> tuple[Tensor, Tensor | None]:
        """What one encoder says, weighed: (windows, window, width), and the first window's pooled, if it has any."""
        reader = self.readers[number]
        cut = self._cut(number, fragments, reading)[:windows]
        cut += [[] for _ in range(windows - len(cut))]
        rows = {name: found.rows[number] for name, found in reading.embeddings.items()}
        with reader.speaking(cut, rows):
            states, pooled = self.run(reader, reader.rows(cut), reading.clip_skip)
        weights = reader.weights(cut)
        if (weights != 1).any():
            weighed = Weighed(states, weights, lambda: self.run(reader, reader.rows([[]]), reading.clip_skip)[0])
            states = WEIGHTINGS[reading.weighting](weighed)
        return states, None if pooled is None else pooled[:1]

    def run(self, reader: Reader, ids: Tensor, clip_skip: int) -> tuple[Tensor, Tensor | None]:
        """What one encoder says of windows of ids, (W, window, width), and the pooled (W, width), if it has any."""
        if not self.large:
            return _normed(reader.model, ids, clip_skip), None
        out = reader.model(ids, output_hidden_states=True)
        states = out.hidden_states[max(0, len(out.hidden_states) - 2 - clip_skip)]
        return states, getattr(out, "text_embeds", None)

    def _faded(self, said: Embedding, fragments: Sequence[Fragment], reading: Reading, windows: int) -> Embedding:
        """The mean of what is said and of the same without each fragment of less weight than 1; the less, the more.

        Source: damian0815/compel, embeddings_provider.py, with its downweight mode REMOVE.
        """
        total, shares = said.tokens.float(), 1.0
        for place, fragment in enumerate(fragments):
            if fragment is BREAK or fragment[1] >= 1:
                continue
            without = [*fragments[:place], *fragments[place + 1 :]]
            read = [self._read(number, without, reading, windows)[0] for number in range(len(self.readers))]
            share = math.tan((1 - max(FADED, fragment[1])) * math.pi / 2)
            total = total + share * torch.cat(read, 2).reshape(total.shape).float()
            shares += share
        return Embedding((total / shares).to(said.tokens.dtype), said.pooled) if shares > 1 else said


def _normed(model: Any, ids: Tensor, clip_skip: int) -> Tensor:
    if not clip_skip:
        return model(ids)[0]
    states = model(ids, output_hidden_states=True).hidden_states
    inner = getattr(model, "text_model", model)
    return inner.final_layer_norm(states[max(0, len(states) - 1 - clip_skip)])


def _told(
    script: Script, steps: int, said: tuple[Mapping[str, Embedding], Mapping[str, Embedding]], notes: list[str]
) -> Told:
    def line(written: Line, embeddings: Mapping[str, Embedding]) -> Said:
        return Said(written.weight, [(last, embeddings[text]) for last, text in written.spans])

    return Told(steps, [line(one, said[0]) for one in script.told], line(script.untold, said[1]), notes)


def _heavy(texts: Mapping[str, None]) -> list[str]:
    """A sentence, if a weight is beyond what is counted with."""
    weights = (weight for text in texts for words, weight in parse_attention(text) if words.strip())
    heaviest = max(weights, key=abs, default=1.0)
    if abs(heaviest) <= WEIGHT_MAX:
        return []
    return [f"A weight of {heaviest:.3g} is more than words can have; it was taken as {WEIGHT_MAX:.0f}."]
