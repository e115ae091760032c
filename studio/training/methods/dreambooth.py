"""DreamBooth: all weights of the UNet learn, and where asked the text encoders'; a whole checkpoint comes of it.

Text encoders that rest can have the trigger's own rows learn, in their tables of words. Pictures of the class hold the
model where it was for prompts without the trigger; a word that means the subject is what tells the two apart.
The pictures of the class that keep it from forgetting are the data's, and their share in the loss is the loss's.
Source: Ruiz et al., arXiv:2208.12242.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from studio.engine.generate import Engine
from studio.engine.store import TEXT_ENCODERS, Checkpoint, Store
from studio.training.base import Living
from studio.training.exporting import as_filed, checkpoint_export
from studio.training.method import Export
from studio.training.methods.words import OwnWord
from studio.training_params import TrainingParams


class Dreambooth(Living):
    """The checkpoint itself in training, kept in fp32.

    Without train_text_encoder, a text_learning_rate above 0 is that of the trigger's own rows.
    """

    def __init__(self, params: TrainingParams, checkpoint: Checkpoint, engine: Engine | None = None) -> None:
        """engine: Whose store is told, at the end, that it holds no file's bytes any more.

        Raises: InvalidRequestError, for a checkpoint that cannot learn.
        """
        super().__init__(params, checkpoint)
        self.parts: dict[str, Any] = {"unet": self.unet}
        self.encoders = dict(zip(TEXT_ENCODERS, checkpoint.prompts.text_encoders, strict=False))
        if params.train_text_encoder:
            self.parts |= self.encoders
        learns = nn.ModuleDict(self.parts).float().requires_grad_(True)
        self.word: OwnWord | None = None
        if params.text_learning_rate and params.trigger.strip() and not params.train_text_encoder:
            learns["word"] = self.word = OwnWord(checkpoint.prompts.readers, params.trigger)
            self.word.attach(checkpoint.prompts.readers, self.undo)
        self.trained = learns.train()
        self.captions.learning = params.train_text_encoder or self.word is not None
        if engine is not None:
            self.undo.callback(let_go, engine.store, list(self.parts.values()))

    def groups(self) -> list[dict[str, Any]]:
        """The UNet; and text encoders, which have a rate of their own unless that is 0, or the trigger's rows, without
        decay."""
        rates = {"unet": self.params.learning_rate}
        text = self.params.text_learning_rate or self.params.learning_rate
        parts = [{"params": list(part.parameters()), "lr": rates.get(name, text)} for name, part in self.parts.items()]
        rows = [] if self.word is None else list(self.word.parameters())
        return parts + ([{"params": rows, "lr": text, "weight_decay": 0.0}] if rows else [])

    def exports(self, layout: str = "") -> list[Export]:
        """Layouts: single_file (usual where the base model has one) and diffusers. Raises: ValueError, for another."""
        learned = {name: part.state_dict() for name, part in self.parts.items()}
        return [checkpoint_export(self.checkpoint, {**learned, **self._speaking()}, layout)]

    def _speaking(self) -> dict[str, Mapping[str, Tensor]]:
        """The text encoders as they were, but for the trigger's rows."""
        states = dict[str, Mapping[str, Tensor]]()
        if self.word is None:
            return states
        for number, (name, encoder) in enumerate(self.encoders.items()):
            words = encoder.get_input_embeddings().weight
            state = dict(as_filed(self.checkpoint, name, encoder))
            key = next(key for key, weight in encoder.named_parameters() if weight is words)
            states[name] = state | {key: self.word.put(number, state[key])}
        return states


def let_go(store: Store, modules: list[nn.Module]) -> None:
    """Have the store read the checkpoint again when it is next asked for: these modules hold other numbers now."""
    for key, slot in list(store.slots.items()):
        if any(slot.module is module for module in modules):
            del store.slots[key]
    store.current = None
