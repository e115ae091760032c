"""Textual inversion: vectors that stand in a prompt for a word which nobody has; the model stays as it is.

Source: Gal et al., arXiv:2208.01618.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from studio.adapters.embeddings import ONE, TWO, EmbeddingFile
from studio.engine.generate import Engine
from studio.engine.store import Checkpoint
from studio.messages import ModelLocation
from studio.params import EmbeddingRef
from studio.training.base import Living
from studio.training.exporting import embedding_export
from studio.training.method import Export
from studio.training.methods.words import LearnedWord
from studio.training_params import TrainingParams

LIVE = "learning-vectors"  # stands for the content id of vectors that change with every step


class Inversion(Living):
    """Vectors in training, called by the trigger."""

    def __init__(self, params: TrainingParams, checkpoint: Checkpoint, engine: Engine | None = None) -> None:
        """engine: Where `shown` lends the vectors to, if pictures are to be made.

        Raises: InvalidRequestError, for a checkpoint that cannot learn, or without a trigger.
        """
        super().__init__(params, checkpoint)
        self.word = LearnedWord(checkpoint.prompts.readers, params)
        self.trained = self.word
        self.captions.vectors = {params.trigger: self.word.given()}
        self.captions.learning = True
        self.engine = engine

    def groups(self) -> list[dict[str, Any]]:
        """The vectors, which no decay draws to zero."""
        return [{"params": list(self.word.parameters()), "lr": self.params.learning_rate, "weight_decay": 0.0}]

    def after_step(self) -> None:
        """See `Method.after_step`."""
        if self.params.keep_norm:
            self.word.keep_norm()

    @contextmanager
    def lent(self) -> Generator[Mapping[str, Any]]:
        """`embeddings` for the request, and `models` for its locations."""
        with lent_word(self.word, self.params.trigger, self.checkpoint, self.engine) as lent:
            yield lent

    def exports(self, layout: str = "") -> list[Export]:
        """Layouts: kohya (usual), diffusers, and for one text encoder a1111. Raises: ValueError, for another one."""
        location = self.checkpoint.location
        return [embedding_export(self.word.given(), self.params.trigger, location, layout or "kohya")]


@contextmanager
def lent_word(
    word: LearnedWord, trigger: str, checkpoint: Checkpoint, engine: Engine | None
) -> Generator[Mapping[str, Any]]:
    """Let prompts of an engine name vectors that are in no file; yields the request's fields and `models`."""
    names = (ONE,) if len(word.rows) == 1 else TWO
    vectors = {name: rows.detach().clone() for name, rows in zip(names, word.rows, strict=True)}
    if engine is not None:
        engine.small.read[LIVE] = EmbeddingFile(trigger, vectors, "live")
    location = ModelLocation(trigger, LIVE, "", "embedding", checkpoint.location.base)
    try:
        yield {"embeddings": (EmbeddingRef(name=trigger, id=LIVE),), "models": {LIVE: location}}
    finally:
        if engine is not None:
            engine.small.read.pop(LIVE, None)
