"""Pivotal tuning: first a word learns to mean the subject, then a LoRA learns what no word can say; one run, two files.

Source: Roich et al., arXiv:2106.05744, for the idea; cloneofsimo/lora, for diffusion models.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn

from studio.engine.generate import Engine
from studio.engine.store import Checkpoint
from studio.errors import InvalidRequestError
from studio.training.base import Living
from studio.training.exporting import embedding_export, lora_export
from studio.training.method import Export
from studio.training.methods.factors import Adapting, places_of
from studio.training.methods.inversion import lent_word
from studio.training.methods.lora import factor_groups
from studio.training.methods.words import LearnedWord
from studio.training_params import TrainingParams


class Pivotal(Living):
    """Vectors for the first `inversion_share` of the steps, then a LoRA of the UNet while the vectors rest.

    text_learning_rate is the vectors' rate; 0 gives them the LoRA's.
    """

    def __init__(self, params: TrainingParams, checkpoint: Checkpoint, engine: Engine | None = None) -> None:
        """engine: Where `shown` lends the vectors to. Raises: InvalidRequestError, as for an inversion, and for a text
        encoder that is to learn, under which the word would change its meaning."""
        super().__init__(params, checkpoint)
        if params.train_text_encoder:
            raise InvalidRequestError(
                "A pivotal run teaches a word, and its text encoder is to change as well.",
                field="train_text_encoder",
                hint="Turn the text encoder off, or choose the method LoRA.",
            )
        self.word = LearnedWord(checkpoint.prompts.readers, params)
        self.adapting = Adapting(places_of(checkpoint.adapted, params), params)
        self.adapting.attach(self.undo)
        self.trained = nn.ModuleDict({"word": self.word, "factors": self.adapting}).train()
        self.captions.vectors = {params.trigger: self.word.given()}
        self.captions.learning = True
        self.engine = engine

    def groups(self) -> list[dict[str, Any]]:
        """The vectors, which no decay draws to zero, and the factors."""
        rate = self.params.text_learning_rate or self.params.learning_rate
        words = {"params": list(self.word.parameters()), "lr": rate, "weight_decay": 0.0}
        return [words, *factor_groups(self.adapting, self.params)]

    def before_step(self, step: int, steps: int) -> None:
        """See `Method.before_step`; what rests has no gradients, and factors that have not begun are not computed."""
        teaching = step < round(self.params.inversion_share * steps)
        if teaching != self.captions.learning:
            self.captions.forget()
        self.captions.learning = teaching
        self.word.requires_grad_(teaching)
        self.adapting.requires_grad_(not teaching)
        self.adapting.on = not teaching
        super().before_step(step, steps)

    def after_step(self) -> None:
        """See `Method.after_step`."""
        if self.params.keep_norm and self.captions.learning:
            self.word.keep_norm()

    @contextmanager
    def lent(self) -> Generator[Mapping[str, Any]]:
        """`embeddings` for the request, and `models` for its locations."""
        with lent_word(self.word, self.params.trigger, self.checkpoint, self.engine) as lent:
            yield lent

    def exports(self, layout: str = "") -> list[Export]:
        """A LoRA and an embedding. Layouts: kohya (usual); diffusers, whose LoRA is PEFT's. Raises: ValueError."""
        lora = lora_export(self.adapting, self.checkpoint, {"": "kohya", "diffusers": "peft"}.get(layout, layout))
        words = embedding_export(
            self.word.given(),
            self.params.trigger,
            self.checkpoint.location,
            {"": "kohya", "peft": "diffusers"}.get(layout, layout),
        )
        return [lora, words]
