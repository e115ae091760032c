"""What the methods share: captions read as the engine reads prompts, the UNet in training, beginning and end."""

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Generator, Hashable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from studio.engine.prompt import PromptEncoder
from studio.engine.store import TEXT_ENCODERS, Checkpoint
from studio.errors import InvalidRequestError
from studio.prompts.chunks import Token
from studio.training.batch import Batch
from studio.training.conditions import Noisy
from studio.training.method import Export
from studio.training.resting import VAE, Resting
from studio.training_params import TrainingParams

CAPTION_WINDOWS = 3  # 225 words, as other trainers read
REMEMBERED = 1024  # captions; what they say takes half of what SD 1's text encoder does
MIXED = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
REFINER = "sdxl-refiner"


@dataclass(frozen=True)
class Said:
    """What captions say. words: (N, L, D); pooled: (N, D'), which only SDXL has."""

    words: Tensor
    pooled: Tensor | None = None


@dataclass
class Captions:
    """Captions as the engine reads prompts, but many at once, without weights in brackets, and with gradients.

    Fields:
        clip_skip: How many of the text encoder's last layers are skipped.
        vectors: Embeddings that captions may name: (n, width) for each text encoder.
        learning: Whether text encoders or vectors learn; else what was read is remembered, and has no gradients.
        expected: All captions of the run, where they are known.
    """

    prompts: PromptEncoder
    clip_skip: int = 0
    vectors: Mapping[str, Sequence[Tensor]] = field(default_factory=dict[str, Sequence[Tensor]])
    learning: bool = False
    expected: Sequence[str] = ()
    _known: OrderedDict[Hashable, Said] = field(default_factory=OrderedDict[Hashable, Said])
    _ahead: Hashable = None

    def read(self, captions: Sequence[str]) -> Said:
        """What they say; an empty one says what an empty negative prompt does. All rows are equally long: as many
        windows as the longest needs, three at most."""
        texts = list(dict.fromkeys(captions))
        windows = self._windows(texts)
        said = self._read(texts, windows) if self.learning else self._remembered(texts, windows)
        if len(texts) == len(captions):
            return said
        rows = torch.tensor([texts.index(caption) for caption in captions], device=said.words.device)
        return Said(said.words[rows], None if said.pooled is None else said.pooled[rows])

    def forget(self) -> None:
        """Remember nothing of what was read, here and where pictures are made."""
        self._known.clear()
        self._ahead = None
        self.prompts.cache.clear()

    def read_ahead(self) -> bool:
        """Read all that is expected, if so much is remembered. Returns: whether no step needs the text encoders."""
        if self.learning or not 0 < len(self.expected) < REMEMBERED:
            return False
        if self._ahead != (written := self._written):
            for text in (None, *self.expected):
                self._known_said(text)
            self._ahead = written
        return True

    @property
    def _written(self) -> tuple[int, ...]:
        """How often the vectors were written to; averages may be put in."""
        return tuple(one._version for rows in self.vectors.values() for one in rows)

    def _remembered(self, texts: Sequence[str], windows: int) -> Said:
        found = [self._filled(text, windows) for text in texts]
        pooled = [said.pooled for said in found if said.pooled is not None]
        return Said(torch.cat([said.words for said in found]), torch.cat(pooled) if pooled else None)

    def _filled(self, text: str, windows: int) -> Said:
        """With windows of nothing behind its own; what is zero stays so."""
        said, window = self._known_said(text), self.prompts.readers[0].window
        if not (more := windows - said.words.shape[1] // window):
            return said
        blank = self._known_said(None).words * (not self.prompts.large or text != "")
        return Said(torch.cat([said.words, *[blank] * more], 1), said.pooled)

    @torch.no_grad()
    def _known_said(self, text: str | None) -> Said:
        """What a caption says in its own windows; None is a window without words."""
        key = (text, self._written)
        if key not in self._known:
            self._known[key] = self._plain([""], 1) if text is None else self._read([text], self._windows([text]))
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]

    def _windows(self, texts: Sequence[str]) -> int:
        return max(len(self._cut(number, text)) for text in texts for number in range(len(self.prompts.readers)))

    def _plain(self, texts: Sequence[str], windows: int) -> Said:
        read = [self._by_one(number, texts, windows) for number in range(len(self.prompts.readers))]
        return Said(torch.cat([states for states, _ in read], 2), read[-1][1])

    def _read(self, texts: Sequence[str], windows: int) -> Said:
        said = self._plain(texts, windows)
        if not self.prompts.large or "" not in texts:
            return said
        words, pooled = said.words, said.pooled
        told = torch.tensor([text != "" for text in texts], device=words.device)
        return Said(words * told[:, None, None], None if pooled is None else pooled * told[:, None])

    def _by_one(self, number: int, texts: Sequence[str], windows: int) -> tuple[Tensor, Tensor | None]:
        """What one encoder says: (N, windows * window, width), and of the first windows the pooled (N, width)."""
        reader = self.prompts.readers[number]
        cut = [row for text in texts for row in self._padded(number, text, windows)]
        with reader.speaking(cut, {name: rows[number] for name, rows in self.vectors.items()}):
            states, pooled = self.prompts.run(reader, reader.rows(cut), self.clip_skip)
        said = states.reshape(len(texts), -1, states.shape[2])
        return said, None if pooled is None else pooled[::windows]

    def _padded(self, number: int, text: str, windows: int) -> list[list[Token]]:
        cut = self._cut(number, text)
        return cut + [[] for _ in range(windows - len(cut))]

    def _cut(self, number: int, text: str) -> list[list[Token]]:
        counts = {name: len(rows[number]) for name, rows in self.vectors.items()}
        return self.prompts.readers[number].cutter(counts).cut([(text, 1.0)])[:CAPTION_WINDOWS]


class Living(ABC):
    """A method on the modules that the engine makes pictures with; see `studio.training.method.Method`.

    `close` leaves these modules as they were, but for the weights that learned.

    Attributes:
        trained: What learns.
        undo: What `close` undoes.
        resting: What steps do without, once captions are expected.
    """

    trained: nn.Module

    def __init__(self, params: TrainingParams, checkpoint: Checkpoint) -> None:
        """Raises: InvalidRequestError, for a checkpoint that cannot learn."""
        _check(checkpoint)
        self.params, self.checkpoint, self.unet = params, checkpoint, checkpoint.unet
        self.captions = Captions(checkpoint.prompts, int(checkpoint.location.card.get("clip_skip", 0)))
        self.resting = Resting(checkpoint)
        self.undo = ExitStack()
        for module in (self.unet, *checkpoint.prompts.text_encoders):
            module.requires_grad_(False)
        self.undo.callback(self.checkpoint_gradients, False)
        if params.gradient_checkpointing:
            self.checkpoint_gradients(True)

    @abstractmethod
    def groups(self) -> list[dict[str, Any]]:
        """See `Method.groups`."""

    @abstractmethod
    def exports(self, layout: str = "") -> list[Export]:
        """See `Method.exports`."""

    def predict(self, batch: Batch, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """See `Method.predict`."""
        with self.computing():
            predicted = self.denoise(self.seen(batch, noisy, timesteps), batch)
        return anchored(predicted.float(), self.trained.parameters())

    def denoise(self, seen: Noisy, _batch: Batch) -> Tensor:
        """What the UNet says, (N, C, h, w)."""
        return self.unet(
            seen.latents, seen.timesteps, seen.words, added_cond_kwargs=dict(seen.added), return_dict=False
        )[0]

    def seen(self, batch: Batch, noisy: Tensor, timesteps: Tensor) -> Noisy:
        """The batch as the UNet sees it, on its device and in its precision."""
        said, like = self.captions.read(batch.captions), next(self.unet.parameters())
        added: dict[str, Tensor] = {}
        if said.pooled is not None:
            added = {"text_embeds": said.pooled.to(like), "time_ids": batch.sizes.to(like)}
        return Noisy(noisy.to(like), timesteps.to(like.device), said.words.to(like), added)

    def computing(self) -> AbstractContextManager[Any]:
        """What the frozen parts compute in, by the run's precision; weights in half precision are computed in that."""
        first = next(self.unet.parameters())  # diffusers' own `dtype` walks through all layers, at every step
        dtype = MIXED[self.params.precision] or (None if first.dtype == torch.float32 else first.dtype)
        return nullcontext() if dtype is None else torch.autocast(first.device.type, dtype)

    def before_step(self, step: int, steps: int) -> None:  # noqa: ARG002  (most methods have one stage)
        """See `Method.before_step`; what no step needs is let go of until pictures are made."""
        if self.captions.expected:
            self.resting.rest((VAE, *TEXT_ENCODERS) if self.captions.read_ahead() else (VAE,))

    def after_step(self) -> None:
        """See `Method.after_step`."""
        return

    @contextmanager
    def shown(self) -> Generator[Mapping[str, Any]]:
        """See `Method.shown`."""
        self.checkpoint.prompts.cache.clear()
        self.trained.eval()
        try:
            with self.lent() as lent:
                yield lent
        finally:
            self.trained.train()
            self.checkpoint.prompts.cache.clear()

    def lent(self) -> AbstractContextManager[Mapping[str, Any]]:
        """What pictures need more, until the block ends; nothing, where the UNet itself has changed."""
        return nullcontext({})

    def checkpoint_gradients(self, on: bool) -> None:
        """Compute the UNet's activations again on the way back in place of keeping them, or not: less memory for more
        time. What text encoders keep is small beside it."""
        (self.unet.enable_gradient_checkpointing if on else self.unet.disable_gradient_checkpointing)()

    def close(self) -> None:
        """End the training: hooks off, nothing learns, evaluation mode; every module has the name that it had."""
        self.undo.close()
        self.resting.close()
        self.trained.requires_grad_(False).eval()
        self.captions.forget()


def anchored(predicted: Tensor, parameters: Iterable[nn.Parameter]) -> Tensor:
    """The same prediction, with gradients of zero where a batch says nothing of what learns, such as one of dropped
    captions in an inversion: a loss must have something to go back to."""
    if predicted.requires_grad:
        return predicted
    return predicted + sum(0 * one.sum() for one in parameters if one.requires_grad)


def _check(checkpoint: Checkpoint) -> None:
    if checkpoint.location.base == REFINER:
        raise InvalidRequestError(
            f"{checkpoint.location.name} is a refiner, which makes no pictures of its own.",
            field="checkpoint",
            hint="Train the base model; the refiner works on what comes of it.",
        )
    if checkpoint.fills_in:
        raise InvalidRequestError(
            f"{checkpoint.location.name} fills in parts of pictures, and its UNet takes a mask beside the picture.",
            field="checkpoint",
            hint="Train the plain checkpoint that it was made of; what comes of that works here too.",
        )
