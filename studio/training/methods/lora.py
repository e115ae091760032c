"""LoRA: low-rank changes of the UNet's layers and, where asked, of the text encoders'."""

from typing import Any

from torch import nn

from studio.engine.store import Checkpoint
from studio.training.base import Living
from studio.training.exporting import lora_export
from studio.training.method import Export
from studio.training.methods.factors import UNET, Adapting, places_of
from studio.training_params import TrainingParams


class Lora(Living):
    """A LoRA in training; DoRA, rsLoRA, LoRA+ and convolutions by the params.

    Its file's scale is alpha / rank, with rsLoRA alpha / sqrt(rank) (Kalajdzievski, arXiv:2312.03732). With LoRA+ the
    up matrices learn lora_plus times as fast (Hayou et al., arXiv:2402.12354).
    """

    def __init__(self, params: TrainingParams, checkpoint: Checkpoint) -> None:
        """Raises: InvalidRequestError, for a checkpoint that cannot learn."""
        super().__init__(params, checkpoint)
        self.adapting = Adapting(places_of(checkpoint.adapted, params), params)
        self.adapting.attach(self.undo)
        self.trained = self.adapting.train()
        self.captions.learning = params.train_text_encoder

    def groups(self) -> list[dict[str, Any]]:
        """The UNet's factors and the text encoders', which have a rate of their own unless that is 0."""
        return factor_groups(self.adapting, self.params)

    def exports(self, layout: str = "") -> list[Export]:
        """Layouts: kohya (usual) and peft. Raises: ValueError, for another one."""
        return [lora_export(self.adapting, self.checkpoint, layout or "kohya")]


def factor_groups(adapting: Adapting, params: TrainingParams) -> list[dict[str, Any]]:
    """What learns at one rate, together; no group is empty."""
    rates: dict[float, list[nn.Parameter]] = {}
    for name, factors in adapting.rows():
        own = params.learning_rate
        if not name.startswith(f"{UNET}."):
            own = params.text_learning_rate or own
        for kind, parameter in factors.named_parameters():
            rates.setdefault(own * (params.lora_plus if kind == "up" else 1.0), []).append(parameter)
    return [{"params": parameters, "lr": rate} for rate, parameters in rates.items()]
